"""What arrives is found, whoever waits, closes, aborts or is cancelled meanwhile."""

from __future__ import annotations

import random
import select
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from relay.system import open_epoll
from relay.transport import arrivals as module
from relay.transport.arrivals import Arrivals, watching
from relay.transport.stream import RECEIVE_BYTES, TcpStream, close_gently

pytestmark = pytest.mark.skipif(open_epoll() is None, reason="this system has no epoll")


@contextmanager
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of one TCP connection over loopback; the first is not blocking."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        theirs = socket.create_connection(listening.getsockname())
        ours, _ = listening.accept()
    ours.setblocking(False)
    with ours, theirs:
        yield ours, theirs


@asynccontextmanager
async def arriving() -> AsyncIterator[Arrivals]:
    async with watching(open_epoll) as arrivals:
        assert arrivals is not None
        yield arrivals


@asynccontextmanager
async def streams(number: int = 1) -> AsyncIterator[tuple[list[TcpStream], list[socket.socket]]]:
    """Streams that share one `Arrivals`, and their peers."""
    with ExitStack() as stack:
        pairs = [stack.enter_context(pair()) for _ in range(number)]
        async with arriving() as arrivals:
            ours = [TcpStream(one, arrivals) for one, _ in pairs]
            try:
                yield ours, [theirs for _, theirs in pairs]
            finally:
                for stream in ours:
                    stream.abort()


class Taker:
    """Takes what is handed over until it has had `wanted` pieces."""

    def __init__(self, stream: TcpStream, wanted: int = 1_000) -> None:
        self.stream = stream
        self.wanted = wanted
        self.taken: list[bytes] = []
        self.returned: list[bytes | None] = []

    def take(self, chunk: bytes | bytearray) -> bool:
        self.taken.append(bytes(chunk))
        return len(self.taken) < self.wanted

    async def run(self) -> None:
        self.returned.append(await self.stream.hand_over(self.take))


async def test_whoever_waits_gets_what_arrives_then_or_has_arrived_before() -> None:
    async with streams() as ((stream,), (peer,)):
        peer.sendall(b"before")
        assert await stream.receive_some() == b"before"

        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def receive() -> None:
                assert await stream.receive_some() == b"then"

            await wait_all_tasks_blocked()
            peer.sendall(b"then")


async def test_what_one_read_leaves_the_next_finds_without_anything_new() -> None:
    async with streams() as ((stream,), (peer,)):
        peer.sendall(b"0123456789")

        read = [await stream.receive_some(4) for _ in range(3)]

    assert read == [b"0123", b"4567", b"89"]


@pytest.mark.parametrize("is_handed_over", [False, True])
async def test_an_end_that_comes_together_with_the_last_bytes_is_seen(
    is_handed_over: bool,
) -> None:
    async with streams() as ((stream,), (peer,)):
        taker = Taker(stream)
        with trio.fail_after(10.0):
            async with trio.open_nursery() as nursery:
                if is_handed_over:
                    nursery.start_soon(taker.run)
                    await wait_all_tasks_blocked()
                peer.sendall(b"last")
                peer.shutdown(socket.SHUT_WR)
                if not is_handed_over:
                    taker.taken.append(await stream.receive_some())
                    taker.returned.append(await stream.receive_some())

    assert taker.taken == [b"last"]
    assert taker.returned == [b""]


async def test_pieces_are_handed_over_without_waking_who_waits_until_one_is_the_last() -> None:
    async with streams() as ((stream,), (peer,)):
        taker = Taker(stream, wanted=3)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(taker.run)
            for piece in (b"one", b"two"):
                await wait_all_tasks_blocked()
                peer.sendall(piece)
            await wait_all_tasks_blocked()
            before = list(taker.taken), list(taker.returned)
            peer.sendall(b"three")
            await wait_all_tasks_blocked()
            peer.sendall(b"four")

        assert before == ([b"one", b"two"], [])
        assert taker.taken == [b"one", b"two", b"three"]
        assert taker.returned == [None]
        assert await stream.receive_some() == b"four"


async def test_more_than_one_read_holds_is_left_to_who_waits() -> None:
    """So whoever sends much has its turns like everybody else."""
    async with streams() as ((stream,), (peer,)):
        taker = Taker(stream)
        sent = bytes(3 * RECEIVE_BYTES)
        peer.setblocking(False)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(taker.run)
            await wait_all_tasks_blocked()
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, len(sent))
            taken = peer.send(sent)

        assert [len(piece) for piece in taker.taken] == [RECEIVE_BYTES]
        (rest,) = taker.returned
        assert rest is not None
        received = RECEIVE_BYTES + len(rest)
        with trio.fail_after(10.0):
            while received < taken:
                received += len(await stream.receive_some())


async def test_what_taking_raises_is_its_own_waiters_and_the_others_go_on() -> None:
    async with streams(2) as ((stumbling, sound), (first, second)):
        taker, raised = Taker(sound), []

        def stumble(chunk: bytes | bytearray) -> bool:
            raise LookupError

        async def wait() -> None:
            try:
                await stumbling.hand_over(stumble)
            except LookupError as error:
                raised.append(error)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            nursery.start_soon(taker.run)
            await wait_all_tasks_blocked()
            first.sendall(b"x")
            second.sendall(b"y")
            await wait_all_tasks_blocked()
            second.sendall(b"z")
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()

    assert len(raised) == 1
    assert taker.taken == [b"y", b"z"]


async def test_what_one_takes_may_close_others_and_itself_in_the_same_turn() -> None:
    async with streams(3) as (ours, peers):
        closed = []

        def close_all(chunk: bytes | bytearray) -> bool:
            for stream in ours:
                stream.abort()
            return True

        async def wait(stream: TcpStream) -> None:
            try:
                await stream.hand_over(close_all)
            except trio.ClosedResourceError:
                closed.append(stream)

        with trio.fail_after(10.0):
            async with trio.open_nursery() as nursery:
                for stream in ours:
                    nursery.start_soon(wait, stream)
                await wait_all_tasks_blocked()
                for peer in peers:
                    peer.sendall(b"x")

    assert set(closed) == set(ours)


async def test_a_cancelled_wait_loses_nothing_and_may_be_begun_again() -> None:
    async with streams() as ((stream,), (peer,)):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.receive_some)
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        with trio.CancelScope() as scope:
            scope.cancel()
            await stream.hand_over(lambda _: True)
        peer.sendall(b"kept")
        with trio.CancelScope() as scope:
            scope.cancel()
            await stream.receive_some()

        assert await stream.receive_some() == b"kept"


async def test_two_who_wait_for_one_socket_is_one_too_many() -> None:
    async with streams() as ((stream,), _), trio.open_nursery() as nursery:
        nursery.start_soon(stream.receive_some)
        await wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await stream.receive_some()
        nursery.cancel_scope.cancel()


async def test_whoever_waits_for_a_socket_that_is_closed_is_told() -> None:
    async with streams() as ((stream,), _), trio.open_nursery() as nursery:

        @nursery.start_soon
        async def receive() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await stream.receive_some()

        await wait_all_tasks_blocked()
        stream.abort()
        stream.abort()
        with pytest.raises(trio.ClosedResourceError):
            await stream.hand_over(lambda _: True)


async def test_a_descriptor_used_again_is_another_socket() -> None:
    async with arriving() as arrivals:
        for n in range(20):
            with pair() as (ours, theirs):
                stream = TcpStream(ours, arrivals)
                theirs.sendall(b"%d" % n)
                if n % 2:  # else what has arrived is never asked for
                    assert await stream.receive_some() == b"%d" % n
                stream.abort()
        await wait_all_tasks_blocked()

        assert arrivals._signals == {}


async def test_a_closed_stream_is_told_of_no_more_though_its_connection_lives_on() -> None:
    """As it does where another process has the descriptor as well."""
    epoll = RecordingEpoll()
    with pair() as (ours, theirs), ours.dup():
        async with watching(lambda: epoll) as arrivals:
            stream = TcpStream(ours, arrivals)
            theirs.sendall(b"x")
            assert await stream.receive_some() == b"x"
            told = len(epoll.told)
            stream.abort()
            theirs.sendall(b"y")
            await wait_all_tasks_blocked(0.01)

    assert told == len(epoll.told) == 1


class RecordingEpoll:
    """An epoll, and what it has told."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self.fileno = self._epoll.fileno
        self.register = self._epoll.register
        self.unregister = self._epoll.unregister
        self.close = self._epoll.close
        self.told: list[tuple[int, int]] = []

    def poll(self, timeout: float | None = None, maxevents: int = -1) -> list[tuple[int, int]]:
        told = self._epoll.poll(timeout, maxevents)
        self.told += told
        return told


async def test_a_socket_that_nobody_reads_is_not_looked_at_again_and_again() -> None:
    """While a connection pauses. The event loop would never come to rest."""
    async with streams() as ((stream,), (peer,)):
        peer.sendall(b"unread")
        with trio.fail_after(10.0):
            await wait_all_tasks_blocked(0.01)

        assert await stream.receive_some() == b"unread"


async def test_others_have_turns_between_many_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SOCKETS_PER_TURN", 2)
    turns = 0
    async with streams(20) as (ours, peers), trio.open_nursery() as nursery:
        seen: list[int] = []

        def take(chunk: bytes | bytearray) -> bool:
            seen.append(turns)
            return True

        for stream in ours:
            nursery.start_soon(stream.hand_over, take)
        await wait_all_tasks_blocked()
        for peer in peers:
            peer.sendall(b"x")
        with trio.fail_after(10.0):
            while len(seen) < 20:
                turns += 1
                await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()

    assert max(seen.count(turn) for turn in seen) <= 4, "who has turns in a round is up to chance"


async def test_whoever_closes_gently_while_all_are_cancelled_still_hears_of_its_peers_end() -> None:
    """The wait for that is shielded and ends by itself; but by then the peer had long answered."""
    answered = False
    with pair() as (ours, theirs), trio.fail_after(10.0):
        peer = trio.SocketStream(trio.socket.from_stdlib_socket(theirs))

        async def answer() -> None:
            assert await peer.receive_some() == b""
            await wait_all_tasks_blocked()
            await peer.aclose()

        async with trio.open_nursery() as outside:
            outside.start_soon(answer)
            with trio.CancelScope() as everything:
                async with arriving() as arrivals, trio.open_nursery() as nursery:

                    @nursery.start_soon
                    async def connection() -> None:
                        nonlocal answered
                        stream = TcpStream(ours, arrivals)
                        try:
                            await trio.sleep_forever()
                        finally:
                            with trio.CancelScope(shield=True):
                                await stream.send_eof()
                                answered = await stream.receive_some() == b""
                                await close_gently(stream)

                    await wait_all_tasks_blocked()
                    everything.cancel()

    assert answered


async def test_where_there_is_no_epoll_trio_is_asked() -> None:
    async with watching(lambda: None) as arrivals:
        with pair() as (ours, theirs):
            stream = TcpStream(ours, arrivals)
            theirs.sendall(b"all the same")
            assert await stream.hand_over(lambda _: True) == b"all the same"
            stream.abort()


# ── all at once ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("seed", range(5))
async def test_whatever_becomes_of_some_the_others_read_all_and_nothing_is_left(seed: int) -> None:
    dice = random.Random(seed)
    before = open_descriptors()
    received: dict[int, bytes] = {}
    async with arriving() as arrivals, trio.open_nursery() as nursery:
        for number in range(150):
            nursery.start_soon(one_of_many, arrivals, number, dice, received)
    survivors = {n: text for n, text in received.items() if text.endswith(b"end")}

    assert arrivals._signals == {}
    assert open_descriptors() == before
    assert len(survivors) >= 30
    assert all(text == whole(number) for number, text in survivors.items())
    assert all(whole(number).startswith(text) for number, text in received.items())


def whole(number: int) -> bytes:
    return b"".join(b"%d:%d " % (number, piece) for piece in range(20)) + b"end"


async def one_of_many(
    arrivals: Arrivals, number: int, dice: random.Random, received: dict[int, bytes]
) -> None:
    """Somebody sends in small pieces; whoever reads goes on to the end or meets with something."""
    fate = dice.choice(["lives", "lives", "is aborted", "is cancelled", "is reset"])
    received[number] = b""
    with pair() as (ours, theirs):
        stream = TcpStream(ours, arrivals)
        if fate == "is reset":
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read_all, stream, number, dice.random() < 0.7, received)
            text = whole(number)
            struck_at = dice.randrange(len(text)) if fate != "lives" else len(text)
            while text:
                size = dice.randrange(1, 30)
                try:
                    theirs.sendall(text[:size])
                except OSError:
                    break  # aborted meanwhile
                text = text[size:]
                if dice.random() < 0.5:
                    await trio.lowlevel.checkpoint()
                if len(text) < len(whole(number)) - struck_at:
                    match fate:
                        case "is aborted":
                            stream.abort()
                        case "is cancelled":
                            nursery.cancel_scope.cancel()
                        case _:
                            theirs.close()
                            break
            theirs.close()


async def read_all(
    stream: TcpStream, number: int, is_handed_over: bool, received: dict[int, bytes]
) -> None:
    def take(chunk: bytes | bytearray) -> bool:
        received[number] += chunk
        return len(chunk) % 5 != 0

    try:
        while True:
            if is_handed_over:
                chunk = await stream.hand_over(take)
            else:
                chunk = await stream.receive_some(7)
            if chunk == b"":
                break
            received[number] += chunk or b""
    except (trio.ClosedResourceError, trio.BrokenResourceError):
        pass
    finally:
        stream.abort()


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
