"""The accept loop goes on: through errors of the system, of peers, and of our own code."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors.failures import describe
from relay.transport.listener import Listener
from relay.transport.stream import TcpStream

Meet = Callable[[TcpStream, str], Awaitable[None]]


@dataclass
class Reports:
    """What a listener has reported."""

    capacity: list[int] = field(default_factory=list)
    bugs: list[Exception] = field(default_factory=list)


class FailingSocket:
    """A listening socket whose `accept` fails first, in the ways given."""

    def __init__(self, listening: socket.socket, *errors: int) -> None:
        self._listening = listening
        self._errors = list(errors)

    def fileno(self) -> int:
        return self._listening.fileno()

    def accept(self) -> tuple[socket.socket, tuple[object, ...]]:
        if self._errors:
            number = self._errors.pop(0)
            raise OSError(number, os.strerror(number))
        return self._listening.accept()

    def close(self) -> None:
        self._listening.close()


@asynccontextmanager
async def listening(
    meet: Meet, *errors: int, make_room: Callable[[], bool] = lambda: False
) -> AsyncIterator[tuple[Listener, tuple[str, int], Reports]]:
    with socket.socket() as ours:
        ours.bind(("127.0.0.1", 0))
        ours.listen()
        ours.setblocking(False)
        reports = Reports()
        listener = Listener(
            [FailingSocket(ours, *errors)],
            meet,
            on_capacity=reports.capacity.append,
            on_bug=reports.bugs.append,
            make_room=make_room,
        )
        address = ours.getsockname()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listener.run)
            yield listener, address, reports
            nursery.cancel_scope.cancel()


async def echo(stream: TcpStream, peer: str) -> None:
    while chunk := await stream.receive_some():
        await stream.send_all(chunk)


async def ask(address: tuple[str, int], text: bytes = b"hello") -> bytes:
    async with await trio.open_tcp_stream(*address) as peer:
        await peer.send_all(text)
        await peer.send_eof()
        return b"".join([bytes(chunk) async for chunk in peer])


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
async def test_lack_of_capacity_pauses_accepting_and_is_reported_once(
    number: int, autojump_clock: MockClock
) -> None:
    async with listening(echo, *[number] * 20) as (_, address, reports):
        assert await ask(address) == b"hello"

        assert trio.current_time() == pytest.approx(20 * 0.1)
        assert reports.capacity == [number]


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
async def test_accepting_does_not_pause_where_room_can_be_made(
    number: int, autojump_clock: MockClock
) -> None:
    room = [True] * 10

    async with listening(echo, *[number] * 11, make_room=lambda: bool(room) and room.pop()) as (
        _,
        address,
        reports,
    ):
        assert await ask(address) == b"hello"

        assert trio.current_time() == pytest.approx(0.1), "the eleventh time there was none"
        assert reports.capacity == [number]


async def test_room_is_made_only_where_descriptors_are_what_is_lacking(
    autojump_clock: MockClock,
) -> None:
    def ask_for_room() -> bool:
        raise AssertionError("it would not help")

    lacking = [errno.ENOMEM, errno.ENOBUFS]
    async with listening(echo, *lacking, make_room=ask_for_room) as (_, address, _reports):
        assert await ask(address) == b"hello"


async def test_a_connection_lost_before_it_is_accepted_costs_nothing(
    autojump_clock: MockClock,
) -> None:
    async with listening(echo, errno.ECONNABORTED, errno.EPROTO) as (_, address, reports):
        assert await ask(address) == b"hello"

        assert trio.current_time() == 0.0
        assert reports == Reports()


async def test_a_listening_socket_that_is_broken_is_not_hidden() -> None:
    with pytest.RaisesGroup(OSError, flatten_subgroups=True):
        async with listening(echo, errno.EINVAL) as (_, address, _reports):
            await ask(address)


@pytest.mark.rule("S37")
async def test_a_bug_in_one_connection_ends_that_one_and_is_reported_without_content() -> None:
    async def stumble(stream: TcpStream, peer: str) -> None:
        chunk = await stream.receive_some()
        if chunk == b"CANARY":
            raise ValueError(chunk)
        await stream.send_all(chunk)
        await echo(stream, peer)

    async with (
        listening(stumble) as (_, address, reports),
        await trio.open_tcp_stream(*address) as neighbour,
    ):
        await neighbour.send_all(b"before")
        assert await neighbour.receive_some() == b"before"

        assert await ask(address, b"CANARY") == b""

        await neighbour.send_all(b"after")
        assert await neighbour.receive_some() == b"after"
    (bug,) = reports.bugs
    line = stumble.__code__.co_firstlineno + 3
    assert describe(bug) == {"error": "ValueError", "at": f"test_listener.py:{line} stumble"}


async def test_several_bugs_of_one_connection_are_reported_one_by_one() -> None:
    async def stumble_twice(stream: TcpStream, peer: str) -> None:
        await echo(stream, peer)
        raise ExceptionGroup("as nurseries do", [LookupError(), LookupError()])

    async with listening(stumble_twice) as (_, address, reports):
        assert await ask(address) == b"hello"
        assert await ask(address) == b"hello"
    assert [type(bug) for bug in reports.bugs] == [LookupError] * 4


async def test_a_bug_during_a_cancellation_does_not_leave_the_listener() -> None:
    async def stumble_when_cancelled(stream: TcpStream, peer: str) -> None:
        async def stumble() -> None:
            try:
                await trio.sleep_forever()
            finally:
                raise LookupError

        async with trio.open_nursery() as nursery:
            nursery.start_soon(stumble)
            await trio.sleep_forever()

    async with listening(stumble_when_cancelled) as (_, address, reports):
        peer = await trio.open_tcp_stream(*address)
        await wait_all_tasks_blocked(0.01)
    assert [type(bug) for bug in reports.bugs] == [LookupError]
    await peer.aclose()


async def test_after_close_nobody_gets_in_and_those_inside_stay() -> None:
    async with (
        listening(echo) as (listener, address, _reports),
        await trio.open_tcp_stream(*address) as inside,
    ):
        await inside.send_all(b"before")
        assert await inside.receive_some() == b"before"

        listener.close()
        listener.close()
        await wait_all_tasks_blocked()

        with pytest.raises(OSError, match="connect"):
            await trio.open_tcp_stream(*address)
        await inside.send_all(b"after")
        assert await inside.receive_some() == b"after"


async def test_run_returns_when_the_last_connection_has_ended_after_close() -> None:
    with socket.socket() as ours:
        ours.bind(("127.0.0.1", 0))
        ours.listen()
        ours.setblocking(False)
        address = ours.getsockname()
        listener = Listener([ours], echo, on_capacity=lambda number: None, on_bug=lambda bug: None)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listener.run)
            assert await ask(address) == b"hello"
            listener.close()


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_every_connection_is_closed_when_its_meeting_ends() -> None:
    async def leave(stream: TcpStream, peer: str) -> None:
        await stream.receive_some()

    async with listening(leave) as (_, address, _reports):
        before = open_descriptors()
        for _ in range(20):
            assert await ask(address) == b""
        await wait_all_tasks_blocked()
        assert open_descriptors() == before
