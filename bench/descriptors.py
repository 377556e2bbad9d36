"""How many connections one process may hold: each takes a file descriptor."""

from __future__ import annotations

import resource

from relay.system import RESERVED_DESCRIPTORS, lift_descriptor_limit


class DescriptorLimitError(Exception):
    """The system does not let one process hold so many connections; the message has the figures."""


def make_room_for(connections: int) -> None:
    """Let this process, and those it starts, hold that many connections.

    Raises:
        DescriptorLimitError: the hard limit is too low.
    """
    limit, needed = lift_descriptor_limit(), connections + RESERVED_DESCRIPTORS
    if limit != resource.RLIM_INFINITY and limit < needed:
        raise DescriptorLimitError(
            f"{connections:,} connections need {needed:,} file descriptors in each process, and"
            f" the hard limit (`ulimit -Hn`) is {limit:,}"
        )
