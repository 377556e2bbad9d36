"""How many connections one process may hold: each takes a file descriptor."""

from __future__ import annotations

import resource
from typing import Final

from relay.system import lift_descriptor_limit

RESERVED: Final = 100
"""What a process opens besides connections: its store, its pipes, its event loop."""


class DescriptorLimitError(Exception):
    """The system does not let one process hold so many connections; the message has the figures."""


def make_room_for(connections: int) -> None:
    """Let this process, and those it starts, hold that many connections.

    Raises:
        DescriptorLimitError: the hard limit is too low.
    """
    limit, needed = lift_descriptor_limit(), connections + RESERVED
    if limit != resource.RLIM_INFINITY and limit < needed:
        raise DescriptorLimitError(
            f"{connections:,} connections need {needed:,} file descriptors in each process, and"
            f" the hard limit (`ulimit -Hn`) is {limit:,}"
        )
