"""Handshakes in progress stay within their limit, also when it changes."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack
from typing import cast

from relay.transport.pending import PendingHandshakes
from relay.transport.stream import TcpStream


class Stream:
    """As much of a stream as can be aborted."""

    def __init__(self) -> None:
        self.is_aborted = False

    def abort(self) -> None:
        self.is_aborted = True


def one(
    pending: PendingHandshakes, stream: Stream, address: str = "192.0.2.1"
) -> AbstractContextManager[None]:
    return pending.one(cast(TcpStream, stream), address)


def test_a_flood_from_one_address_costs_that_address_its_oldest_and_nobody_else_anything() -> None:
    pending = PendingHandshakes(4)
    slow, flood = [Stream(), Stream()], [Stream() for _ in range(50)]
    with ExitStack() as stack:
        for number, stream in enumerate(slow):
            stack.enter_context(one(pending, stream, f"198.51.100.{number}"))
        for stream in flood:
            stack.enter_context(one(pending, stream))
            assert len(pending) <= 4
        assert not any(stream.is_aborted for stream in slow)
        assert [stream.is_aborted for stream in flood] == [True] * 48 + [False] * 2
    assert len(pending) == 0
    assert not pending.end_one()


def test_a_lower_limit_is_kept_from_the_next_handshake_on_at_the_cost_of_the_oldest() -> None:
    pending = PendingHandshakes(5)
    streams = [Stream() for _ in range(7)]
    with ExitStack() as stack:
        for stream in streams[:5]:
            stack.enter_context(one(pending, stream))
        pending.adopt(2)
        assert len(pending) == 5
        for stream in streams[5:]:
            stack.enter_context(one(pending, stream))
            assert len(pending) == 2
        assert [stream.is_aborted for stream in streams] == [True] * 5 + [False] * 2
