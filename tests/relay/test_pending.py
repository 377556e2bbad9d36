"""Handshakes in progress stay within their limit, also when it changes."""

from __future__ import annotations

from contextlib import ExitStack
from typing import cast

from relay.transport.pending import PendingHandshakes
from relay.transport.stream import TcpStream


class Stream:
    """As much of a stream as can be aborted."""

    def __init__(self) -> None:
        self.is_aborted = False

    def abort(self) -> None:
        self.is_aborted = True


def test_a_lower_limit_is_kept_from_the_next_handshake_on_at_the_cost_of_the_oldest() -> None:
    pending = PendingHandshakes(5)
    streams = [Stream() for _ in range(7)]
    with ExitStack() as stack:
        for stream in streams[:5]:
            stack.enter_context(pending.one(cast(TcpStream, stream)))
        pending.adopt(2)
        assert len(pending) == 5
        for stream in streams[5:]:
            stack.enter_context(pending.one(cast(TcpStream, stream)))
            assert len(pending) == 2
        assert [stream.is_aborted for stream in streams] == [True] * 5 + [False] * 2
