"""What the library under the second transport cannot do to the relay, and where it shows."""

from __future__ import annotations

import gc
import socket
import tracemalloc

import pytest
import trio
import trio_websocket
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked
from websockets.frames import Opcode

from actors.transport import PeerGoneError, Transport
from ksmp.codec import JSON, MSGPACK, Codec
from relay.transport.frame_watcher import FrameWatcher
from relay.transport.front import Front
from relay.transport.handshake import Judge, Upgrade, acceptance
from relay.transport.library_stream import LibraryStream
from relay.transport.limits import TransportLimits
from relay.transport.listener import Listener
from relay.transport.opening import opening
from relay.transport.stream import ByteStream, WrappedStream
from relay.transport.trio_websocket import most_unfinished_bytes, open_trio_websocket, request_of
from relay.transport.write_queue import WriteQueue
from tests.relay.wires import (
    KEY,
    Reader,
    Wires,
    close_frame,
    masked,
    receive,
    receive_nothing,
)

TEXT = Opcode.TEXT
WIRES = Wires(open_trio_websocket)


# ── what reaches the library ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("subprotocol", [None, "ksmpv3.json", "ksmpv3.msgpack"])
async def test_the_library_accepts_our_request_as_we_would(subprotocol: str | None) -> None:
    upgrade = Upgrade(KEY, JSON, subprotocol, "token", ("192.0.2.1",))
    async with trio.open_nursery() as nursery:
        ours, theirs = memory_stream_pair()
        await theirs.send_all(request_of(upgrade))
        request = await trio_websocket.wrap_server_stream(nursery, ours)
        await request.accept(subprotocol=subprotocol)
        accepted = await theirs.receive_some()
        nursery.cancel_scope.cancel()

    assert accepted == acceptance(upgrade)
    assert b"token" not in request_of(upgrade)
    assert b"192.0.2.1" not in request_of(upgrade)


@pytest.mark.parametrize("name", [b"Host", b"Connection", b"Sec-WebSocket-Protocol"])
async def test_the_library_still_cannot_be_shown_a_strangers_headers(name: bytes) -> None:
    """One byte that is not ASCII ends its server: the reason for composing a request for it."""
    head = request_of(Upgrade(KEY, JSON, "ksmpv3.json", None))
    before, _, after = head.partition(name + b": ")
    ours, theirs = memory_stream_pair()
    await theirs.send_all(before + name + b": \xff" + after)
    with pytest.RaisesGroup(UnicodeError):
        async with trio.open_nursery() as nursery:
            await trio_websocket.wrap_server_stream(nursery, ours)


async def test_the_library_still_fails_on_a_ping_behind_its_close() -> None:
    """The reason for showing it one frame at a time, and none behind a close."""
    ours, theirs = memory_stream_pair()
    await theirs.send_all(request_of(Upgrade(KEY, JSON, None, None)))
    with pytest.RaisesGroup(Exception, flatten_subgroups=True):
        async with trio.open_nursery() as nursery:
            request = await trio_websocket.wrap_server_stream(nursery, ours)
            websocket = await request.accept()
            nursery.start_soon(websocket.aclose)
            await wait_all_tasks_blocked()
            await theirs.send_all(masked(b"", Opcode.PING))
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()


def library_on(stream: ByteStream) -> tuple[LibraryStream, WriteQueue]:
    """What the library would be given, past the request."""
    out = WriteQueue(stream, 10.0)
    watcher = FrameWatcher(
        is_text=True, max_frame_bytes=100, max_fragments=1, control_frames_per_second=1
    )
    library = LibraryStream(
        stream,
        out,
        watcher,
        request=b"",
        received=b"",
        before_frame=trio.lowlevel.checkpoint,
    )
    return library, out


async def test_what_the_library_still_says_when_a_close_has_gone_out_is_dropped() -> None:
    """A pong may be on its way through the library at that moment."""
    ours, theirs = memory_stream_pair()
    library, out = library_on(WrappedStream(ours, lambda: None))
    await library.send_all(b"accepted ")
    library.close(1001)
    await library.send_all(b"\x8a\x00")
    await out.drain()
    assert await theirs.receive_some() == b"accepted \x88\x02\x03\xe9"


async def test_the_stream_is_read_again_only_when_the_library_has_left_it() -> None:
    ours, theirs = memory_stream_pair()
    library, _ = library_on(WrappedStream(ours, lambda: None))
    library.want()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(library.receive_some)
        await wait_all_tasks_blocked()
        library.close(1000)
        nursery.start_soon(theirs.send_all, close_frame(1000))
        await library.await_close()
    assert await theirs.receive_some() == b""


class Seen(LibraryStream):
    """Remembers what the library was given."""

    given: list[bytes]

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        frame = await super().receive_some(max_bytes)
        type(self).given.append(frame)
        return frame


async def test_the_library_is_given_whole_frames_and_none_that_is_not_to_be_acted_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Seen.given = []
    monkeypatch.setattr("relay.transport.trio_websocket.LibraryStream", Seen)
    good = [masked(b"x" * 70_000), masked(b"", Opcode.PONG), masked(b"b", fin=False)]
    async with WIRES.connected() as (transport, peer), trio.open_nursery() as nursery:
        nursery.start_soon(peer.send_all, b"".join(good) + masked(b"y", TEXT) + masked(b"z"))
        assert await receive(transport, 1) == [b"x" * 70_000]
        with pytest.raises(PeerGoneError):
            await receive_nothing(transport)
        assert transport.close_code == 1003
        nursery.cancel_scope.cancel()

    assert Seen.given[1:] == [*good, b""]


# ── what goes wrong in the library ───────────────────────────────────────────────────────────


async def test_whatever_its_reader_raises_ends_one_connection_with_1011_and_is_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    original = LibraryStream.receive_some

    async def fail_on_planted(stream: LibraryStream, max_bytes: int | None = None) -> bytes:
        frame = await original(stream, max_bytes)
        if len(frame) == 6 + len(b"planted"):
            raise RuntimeError("planted")
        return frame

    monkeypatch.setattr(LibraryStream, "receive_some", fail_on_planted)
    bugs: list[Exception] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        front = Front(
            Judge(allowed_origins=frozenset(), is_secure=False),
            Echo(),
            TransportLimits(1_000),
            open_transport=opening("trio-websocket"),
        )
        listener = Listener(
            [listening], front.meet, on_capacity=lambda _number: None, on_bug=bugs.append
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listener.run)
            port = listening.getsockname()[1]
            async with await upgraded(port) as unlucky, await upgraded(port) as other:
                await other.send_all(masked(b"before", TEXT))
                assert await other.receive_some() == b"\x81\x06before"
                await unlucky.send_all(masked(b"planted", TEXT))
                assert await unlucky.receive_some() == b"\x88\x02\x03\xf3"
                await other.send_all(masked(b"after", TEXT))
                assert await other.receive_some() == b"\x81\x05after"
            nursery.cancel_scope.cancel()
    assert [str(bug) for bug in bugs] == ["planted"]


async def upgraded(port: int) -> trio.SocketStream:
    """A peer's end of a connection that has been accepted."""
    peer = await trio.open_tcp_stream("127.0.0.1", port)
    upgrade = Upgrade(KEY, JSON, None, None)
    await peer.send_all(request_of(upgrade))
    assert await peer.receive_some() == acceptance(upgrade)
    return peer


class Echo:
    """A reception that lets everyone in and returns what it hears."""

    async def authenticate(self, token: str | None, address: str) -> None:
        await trio.lowlevel.checkpoint()

    def admit(self, who: None) -> None:
        """There is always room."""

    async def serve(self, who: None, codec: Codec, transport: Transport) -> None:
        try:
            while True:
                for message in await transport.receive():
                    transport.send(bytes(message))
                await transport.drain()
        except PeerGoneError:
            pass
        finally:
            transport.close(1011)
            with trio.move_on_after(1, shield=True):
                await transport.aclose()


async def test_a_library_that_does_not_accept_its_request_is_given_up_and_reported(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    monkeypatch.setattr(
        "relay.transport.trio_websocket.request_of", lambda _upgrade: b"POST / HTTP/1.1\r\n\r\n"
    )
    ours, _theirs = memory_stream_pair()
    upgrade = Upgrade(KEY, MSGPACK, None, None)
    with pytest.RaisesGroup(trio.TooSlowError):
        async with open_trio_websocket(
            WrappedStream(ours, lambda: None), upgrade, b"", TransportLimits(1_000)
        ) as transport:
            transport.send(b"nobody hears this")
            await transport.receive()
    assert trio.current_time() <= 10.0


# ── what it holds ────────────────────────────────────────────────────────────────────────────


async def test_what_it_holds_of_an_unfinished_message_is_within_what_is_stated() -> None:
    """The worst there is: text whose characters take four bytes each in memory, in fragments."""
    limit, part = 256_000, 4_000
    text = ("\U0001f600" + "a" * (part - 4)).encode()
    async with WIRES.connected(codec=JSON, max_frame_bytes=limit) as (transport, peer):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(transport.receive)
            await wait_all_tasks_blocked()
            gc.collect()
            tracemalloc.start()
            try:
                before, _ = tracemalloc.get_traced_memory()
                await peer.send_all(masked(text, TEXT, fin=False))
                for _ in range(60):
                    await peer.send_all(masked(text, Opcode.CONT, fin=False))
                await peer.send_all(masked(text, Opcode.CONT, fin=False)[:-1])
                await wait_all_tasks_blocked()
                gc.collect()
                held = tracemalloc.get_traced_memory()[0] - before
            finally:
                tracemalloc.stop()
            nursery.cancel_scope.cancel()

    assert 60 * part * 4 < held < most_unfinished_bytes(limit)


# ── where it shows: docs/transports.md ───────────────────────────────────────────────────────


def long_header(payload: bytes) -> bytes:
    """A binary message whose length takes more bytes than it needs to."""
    return b"\x82\xfe" + len(payload).to_bytes(2, "big") + bytes(4) + payload


async def close_code_of(wires: Wires, sent: bytes, codec: Codec = MSGPACK) -> int | None:
    async with wires.connected(codec=codec) as (transport, peer):
        await peer.send_all(sent)
        with trio.move_on_after(1.0), pytest.raises(PeerGoneError):
            while True:
                await transport.receive()
        return transport.close_code


@pytest.mark.parametrize(
    ("sent", "codec", "usual", "deviation"),
    [
        (long_header(b"m"), MSGPACK, None, 1002),
        (close_frame(1014), MSGPACK, 1014, 1002),
        (masked(b"\xff", TEXT, fin=False), JSON, None, 1007),
    ],
    ids=["a length in too many bytes", "close 1014", "not UTF-8 so far"],
)
async def test_the_transports_deviate_as_documented_and_no_less(
    sent: bytes,
    codec: Codec,
    usual: int | None,
    deviation: int,
    autojump_clock: MockClock,
) -> None:
    assert await close_code_of(Wires(opening("websockets")), sent, codec) == usual
    assert await close_code_of(WIRES, sent, codec) == deviation


async def test_messages_are_handed_over_one_at_a_time() -> None:
    async with WIRES.connected() as (transport, peer):
        await peer.send_all(masked(b"one") + masked(b"two"))
        assert await transport.receive() == [b"one"]
        assert await transport.receive() == [b"two"]
        transport.send(b"three")
        assert not transport.flush()
        await transport.drain()
        assert await Reader(peer).read(1) == [b"three"]
