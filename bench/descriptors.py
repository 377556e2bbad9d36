"""How many connections one process may hold: each takes a file descriptor."""

from __future__ import annotations

from relay.system import RESERVED_DESCRIPTORS, has_descriptors_for, lift_descriptor_limit


class DescriptorLimitError(Exception):
    """The system does not let one process hold so many connections; the message has the figures."""


def make_room_for(connections: int) -> None:
    """Let this process, and those it starts, hold that many connections.

    Raises:
        DescriptorLimitError: the hard limit is too low.
    """
    limit = lift_descriptor_limit()
    if not has_descriptors_for(connections, limit):
        needed = connections + RESERVED_DESCRIPTORS
        raise DescriptorLimitError(
            f"{connections:,} connections need {needed:,} file descriptors in each process, and"
            f" the hard limit (`ulimit -Hn`) is {limit:,}"
        )
