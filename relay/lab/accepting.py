"""The failpoint between the accept loop and the first word with a connection."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from relay.transport.stream import TcpStream
from storage.failpoints import Failpoint

Meet = Callable[[TcpStream, str], Awaitable[None]]


def past(failpoint: Failpoint, meet: Meet) -> Meet:
    """`meet`, once a connection has come past `failpoint`.

    One that is dropped is closed by whoever accepted it, as every connection is at its end.
    """

    async def reach_and_meet(connected: TcpStream, peer: str) -> None:
        if not await failpoint.reach():
            await meet(connected, peer)

    return reach_and_meet
