"""What `WebSocketTransport` promises an actor, over real sockets and over memory."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest
import trio
import trustme
from trio.testing import MemoryReceiveStream, MockClock, memory_stream_pair
from websockets.frames import Frame, Opcode

from actors.transport import PeerGoneError, SlowPeerError
from ksmp.websocket import ClientFraming, ServerFraming
from relay.transport.stream import Bytes, ByteStream, TcpStream, WrappedStream
from relay.transport.websocket import WebSocketTransport

LIMIT = 300_000
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def transport_on(stream: ByteStream, **settings: object) -> WebSocketTransport:
    framing = ServerFraming(is_text=False, max_frame_bytes=LIMIT)
    options: dict[str, object] = {"write_seconds": 10.0, **settings}
    return WebSocketTransport(stream, framing, is_text=False, **options)  # type: ignore[arg-type]


@contextmanager
def tcp_pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of one TCP connection over loopback, with the smallest buffers there are."""
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        client.connect(listening.getsockname())
        server, _ = listening.accept()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
    server.setblocking(False)
    with server, client:
        yield server, client


@asynccontextmanager
async def connected(
    **settings: float,
) -> AsyncIterator[tuple[WebSocketTransport, trio.SocketStream]]:
    """A transport, and the raw stream of its peer."""
    with tcp_pair() as (server, client):
        client.setblocking(False)
        peer = trio.SocketStream(trio.socket.from_stdlib_socket(client))
        yield transport_on(TcpStream(server), **settings), peer


def masked(payload: bytes, opcode: Opcode = Opcode.BINARY) -> bytes:
    return Frame(opcode, payload).serialize(mask=True)


class Reader:
    """A peer that reads messages."""

    def __init__(self, stream: trio.abc.ReceiveStream) -> None:
        self.framing = ClientFraming(is_text=False, max_frame_bytes=LIMIT)
        self._stream = stream

    async def read(self, count: int) -> list[bytes | bytearray]:
        messages: list[bytes | bytearray] = []
        while len(messages) < count:
            chunk = await self._stream.receive_some()
            assert chunk, "the relay closed the connection"
            messages += self.framing.receive(chunk, 0.0)
        return messages

    async def read_to_end(self) -> list[bytes | bytearray]:
        messages: list[bytes | bytearray] = []
        async for chunk in self._stream:
            messages += self.framing.receive(chunk, 0.0)
        return messages


async def receive_nothing(transport: WebSocketTransport) -> None:
    """Receive until the transport says that there will be no more."""
    while True:
        assert await transport.receive() == []


# ── receiving ────────────────────────────────────────────────────────────────────────────────


async def test_all_messages_of_one_read_arrive_together() -> None:
    async with connected() as (transport, peer):
        await peer.send_all(b"".join(masked(bytes([index])) for index in range(100)))

        assert await transport.receive() == [bytes([index]) for index in range(100)]


async def test_bytes_behind_the_handshake_are_read_first() -> None:
    ours, theirs = memory_stream_pair()
    stream = WrappedStream(ours, lambda: None)
    transport = transport_on(stream, received=masked(b"early"))
    await theirs.send_all(masked(b"late"))

    assert await transport.receive() == [b"early"]
    assert await transport.receive() == [b"late"]


async def test_last_heard_moves_with_every_byte(mock_clock: MockClock) -> None:
    async with connected() as (transport, peer):
        mock_clock.jump(7.0)
        await peer.send_all(b"\x82")
        await transport.receive()

        assert transport.last_heard == 7.0


async def test_a_ping_is_answered_while_receiving() -> None:
    async with connected() as (transport, peer):
        await peer.send_all(masked(b"nonce", Opcode.PING))

        assert await transport.receive() == []
        assert await peer.receive_some() == b"\x8a\x05nonce"
        assert transport.queued_bytes == 0


async def test_messages_before_an_offence_are_delivered_and_then_the_peer_is_gone() -> None:
    async with connected() as (transport, peer):
        await peer.send_all(masked(b"good") + masked(b"text", Opcode.TEXT))

        assert await transport.receive() == [b"good"]
        with pytest.raises(PeerGoneError):
            await transport.receive()
        assert await peer.receive_some() == b"\x88\x02\x03\xeb"  # 1003


@pytest.mark.parametrize("is_reset", [True, False])
async def test_a_peer_that_leaves_is_gone(is_reset: bool) -> None:
    async with connected() as (transport, peer):
        if is_reset:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        await peer.aclose()

        with pytest.raises(PeerGoneError):
            await transport.receive()
        with pytest.raises(PeerGoneError):
            await transport.receive()
        await transport.aclose()


async def test_abort_wakes_whoever_receives_and_drops_what_is_queued() -> None:
    async with connected() as (transport, _peer):
        async with trio.open_nursery() as nursery:

            async def receive() -> None:
                with pytest.raises(PeerGoneError):
                    await transport.receive()

            nursery.start_soon(receive)
            await trio.testing.wait_all_tasks_blocked()
            transport.send(b"too late")
            transport.abort()

        assert transport.queued_bytes == 0
        transport.send(b"later")
        assert transport.flush()
        assert transport.queued_bytes == 0
        with pytest.raises(PeerGoneError):
            await transport.drain()


# ── sending ──────────────────────────────────────────────────────────────────────────────────

MESSAGES = [b"", b"a", b"b" * 125, b"c" * 126, b"d" * 70_000, b"e" * 200_000, b"f"]


async def test_what_fits_is_flushed_at_once() -> None:
    async with connected() as (transport, peer):
        transport.send(b"one")
        transport.send(b"two")
        assert transport.queued_bytes == 10

        assert transport.flush()
        assert transport.queued_bytes == 0
        assert await Reader(peer).read(2) == [b"one", b"two"]


async def test_messages_of_any_size_arrive_whole_through_a_narrow_socket() -> None:
    async with connected() as (transport, peer):
        for message in MESSAGES:
            transport.send(message)
        queued = transport.queued_bytes
        assert not transport.flush()
        assert 0 < transport.queued_bytes < queued

        async with trio.open_nursery() as nursery:
            nursery.start_soon(transport.drain)
            assert await Reader(peer).read(len(MESSAGES)) == MESSAGES
        assert transport.queued_bytes == 0


class Narrow(WrappedStream):
    """A stream that takes a waited-for piece late, and would take another meanwhile."""

    def __init__(self) -> None:
        ours, _ = memory_stream_pair()
        super().__init__(ours, lambda: None)
        self.output = MemoryReceiveStream()
        self.is_open = trio.Event()

    def send_nowait(self, piece: Bytes) -> int:
        self.output.put_data(bytes(piece))
        return len(piece)

    async def send_some(self, piece: Bytes) -> int:
        await self.is_open.wait()
        return self.send_nowait(piece)


async def test_flush_leaves_the_stream_to_a_drain_under_way() -> None:
    stream = Narrow()
    transport = transport_on(stream)
    transport.send(b"first")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(transport.drain)
        await trio.testing.wait_all_tasks_blocked()
        transport.send(b"last")
        assert not transport.flush()
        stream.is_open.set()

    assert transport.flush()
    assert await Reader(stream.output).read(2) == [b"first", b"last"]


async def test_a_cancelled_drain_loses_and_repeats_nothing() -> None:
    async with connected() as (transport, peer):
        for message in MESSAGES:
            transport.send(message)
        received: list[bytes | bytearray] = []
        async with trio.open_nursery() as nursery:

            async def read() -> None:
                received.extend(await Reader(peer).read(len(MESSAGES)))

            nursery.start_soon(read)
            for _ in range(20):
                with trio.CancelScope() as scope:
                    scope.cancel()
                    await transport.drain()
                transport.flush()
                await trio.testing.wait_all_tasks_blocked()
            await transport.drain()
        assert received == MESSAGES


async def test_a_peer_that_does_not_read_is_slow(autojump_clock: MockClock) -> None:
    async with connected() as (transport, _peer):
        transport.send(bytes(250_000))
        assert not transport.flush()

        began = trio.current_time()
        with pytest.raises(SlowPeerError):
            await transport.drain()
        assert trio.current_time() - began == pytest.approx(10.0)
        transport.close(4410)
        await transport.aclose()
        assert trio.current_time() - began == pytest.approx(11.0)


async def test_a_slow_peer_that_reads_after_all_gets_everything_and_the_close() -> None:
    async with connected(write_seconds=0.05) as (transport, peer):
        transport.send(bytes(250_000))
        transport.flush()
        with pytest.raises(SlowPeerError):
            await transport.drain()
        transport.close(4410)

        reader = Reader(peer)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(transport.aclose)
            assert await reader.read_to_end() == [bytes(250_000)]
            assert reader.framing.close_code_received == 4410
            await peer.aclose()


async def test_a_peer_that_resets_while_we_write_is_gone() -> None:
    async with connected() as (transport, peer):
        transport.send(bytes(250_000))
        transport.flush()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        await peer.aclose()

        with pytest.raises(PeerGoneError):
            await transport.drain()
        assert transport.flush()


async def test_control_frames_owed_to_a_full_socket_are_written_before_the_next_read() -> None:
    ours, theirs = memory_stream_pair()
    transport = transport_on(WrappedStream(ours, lambda: None))
    await theirs.send_all(masked(b"n", Opcode.PING))

    assert await transport.receive() == []
    assert transport.queued_bytes == 3
    await theirs.send_all(masked(b"next"))
    assert await transport.receive() == [b"next"]
    assert await theirs.receive_some() == b"\x8a\x01n"


async def test_a_flood_of_pings_is_answered_with_4429_and_bounded_memory() -> None:
    async with connected() as (transport, peer):
        await peer.send_all(masked(b"p" * 125, Opcode.PING) * 30)
        async with trio.open_nursery() as nursery:
            with pytest.raises(PeerGoneError):
                await receive_nothing(transport)
            assert transport.queued_bytes < 20 * 127 + 10
            nursery.start_soon(transport.aclose)
            reader = Reader(peer)
            await reader.read_to_end()
            assert reader.framing.close_code_received == 4429
            await peer.aclose()


async def test_application_pings_beyond_the_limit_are_told_apart() -> None:
    async with connected() as (transport, _):
        assert [transport.note_control() for _ in range(21)] == [True] * 20 + [False]
        assert transport.flush()


# ── closing ──────────────────────────────────────────────────────────────────────────────────


async def test_a_close_goes_behind_what_is_queued_and_nothing_goes_behind_it() -> None:
    async with connected() as (transport, peer):
        transport.send(b"last")
        transport.close(4409)
        queued = transport.queued_bytes
        transport.close(1000)
        transport.send(b"late")
        transport.ping()
        assert transport.queued_bytes == queued
        transport.flush()

        reader = Reader(peer)
        assert await reader.read(1) == [b"last"]
        assert reader.framing.close_code_received == 4409


async def test_aclose_waits_for_the_answer_to_its_close_and_no_longer(
    autojump_clock: MockClock,
) -> None:
    async with connected() as (transport, peer):
        transport.close(1001)
        reader = Reader(peer)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(transport.aclose)
            await reader.read_to_end()
            await peer.send_all(masked(b"sent before it knew") + masked(b"\x03\xe9", Opcode.CLOSE))
            await peer.aclose()
        assert trio.current_time() < 0.5


async def test_aclose_waits_a_second_for_a_silent_peer(autojump_clock: MockClock) -> None:
    async with connected() as (transport, peer):
        began = trio.current_time()
        await transport.aclose()

        assert trio.current_time() - began == pytest.approx(1.0)
        assert await peer.receive_some() == b"\x88\x02\x03\xe8"


async def test_a_close_of_the_peer_is_answered_although_it_goes_on_sending() -> None:
    async with connected() as (transport, peer):
        noise = masked(bytes(50_000))
        async with trio.open_nursery() as nursery:

            async def close_and_go_on() -> None:
                await peer.send_all(masked(b"\x03\xe8", Opcode.CLOSE) + noise)
                await peer.send_eof()

            nursery.start_soon(close_and_go_on)
            with pytest.raises(PeerGoneError):
                await receive_nothing(transport)
            await transport.aclose()
        assert await peer.receive_some() == b"\x88\x02\x03\xe8"
        assert await peer.receive_some() == b""


async def test_aclose_cancelled_closes_at_once_with_what_can_be_sent(
    autojump_clock: MockClock,
) -> None:
    async with connected() as (transport, peer):
        transport.send(b"last")
        with trio.CancelScope() as scope:
            scope.cancel()
            await transport.aclose()
        reader = Reader(peer)

        assert await reader.read_to_end() == [b"last"]
        assert reader.framing.close_code_received == 1000
        assert trio.current_time() == 0.0


# ── TLS ──────────────────────────────────────────────────────────────────────────────────────


async def test_messages_go_both_ways_through_tls() -> None:
    authority = trustme.CA()
    server_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("relay.example").configure_cert(server_context)
    client_context = ssl.create_default_context()
    authority.configure_trust(client_context)
    with tcp_pair() as (server, client):
        client.setblocking(False)
        tcp = TcpStream(server)
        secured = trio.SSLStream(tcp, server_context, server_side=True, https_compatible=True)
        peer = trio.SSLStream(
            trio.SocketStream(trio.socket.from_stdlib_socket(client)),
            client_context,
            server_hostname="relay.example",
            https_compatible=True,
        )
        transport = transport_on(WrappedStream(secured, tcp.abort))
        for message in MESSAGES:
            transport.send(message)
        assert not transport.flush()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(transport.drain)
            reader = Reader(peer)
            assert await reader.read(len(MESSAGES)) == MESSAGES
        await peer.send_all(masked(b"up") + masked(b"\x03\xe8", Opcode.CLOSE))
        assert await transport.receive() == [b"up"]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(transport.aclose)
            await reader.read_to_end()
            assert reader.framing.close_code_received == 1000
            await peer.aclose()


async def test_a_send_that_tls_could_not_finish_is_never_continued() -> None:
    ours, _theirs = memory_stream_pair()
    ours.send_stream.send_all_hook = trio.sleep_forever
    transport = transport_on(WrappedStream(ours, lambda: None))
    transport.send(b"whole")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(transport.drain)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    ours.send_stream.send_all_hook = None

    with pytest.raises(PeerGoneError):
        await transport.drain()
    assert transport.queued_bytes == 0
