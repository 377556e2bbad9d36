"""What `WebSocketTransport` does beyond what every transport promises: one read, one write."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MemoryReceiveStream, memory_stream_pair
from websockets.frames import Opcode

from actors.transport import PeerGoneError
from ksmp.websocket import ServerFraming
from relay.transport.stream import Bytes, ByteStream, TcpStream, WrappedStream
from relay.transport.websocket import WebSocketTransport
from relay.transport.write_queue import PIECE_BYTES
from tests.relay.wires import LIMIT, Reader, masked, receive_nothing, tcp_pair


def transport_on(stream: ByteStream, **settings: object) -> WebSocketTransport:
    framing = ServerFraming(is_text=False, max_frame_bytes=LIMIT)
    options: dict[str, object] = {"write_seconds": 10.0, **settings}
    return WebSocketTransport(stream, framing, is_text=False, **options)  # type: ignore[arg-type]


@asynccontextmanager
async def connected(
    **settings: object,
) -> AsyncIterator[tuple[WebSocketTransport, trio.SocketStream]]:
    """A transport, and the raw stream of its peer."""
    with tcp_pair() as (server, client):
        peer = trio.SocketStream(trio.socket.from_stdlib_socket(client))
        yield transport_on(TcpStream(server), **settings), peer


async def test_all_messages_of_one_read_arrive_together() -> None:
    async with connected() as (transport, peer):
        await peer.send_all(b"".join(masked(bytes([index])) for index in range(100)))

        assert await transport.receive() == [bytes([index]) for index in range(100)]


async def test_a_read_full_of_fragments_leaves_others_their_turns_and_loses_nothing() -> None:
    parts = [
        masked(b"", fin=False),
        *(3 * [masked(b"", Opcode.CONT, fin=False)]),
        masked(b"end", Opcode.CONT),
    ]
    sent = 1_000
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with connected(received=sent * b"".join(parts)) as (transport, _peer):
        received: list[bytes | bytearray] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(count_turns)
            while len(received) < sent:
                received += await transport.receive()
            nursery.cancel_scope.cancel()

    assert received == sent * [b"end"]
    assert turns >= 10  # one for each two KiB of thirty


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


async def test_what_fits_is_flushed_at_once() -> None:
    async with connected() as (transport, peer):
        transport.send(b"one")
        transport.send(b"two")
        assert transport.queued_bytes == 10 + 4 * PIECE_BYTES

        assert transport.flush()
        assert transport.queued_bytes == 0
        assert await Reader(peer).read(2) == [b"one", b"two"]


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


async def test_control_frames_owed_to_a_full_socket_are_written_before_the_next_read() -> None:
    ours, theirs = memory_stream_pair()
    transport = transport_on(WrappedStream(ours, lambda: None))
    await theirs.send_all(masked(b"n", Opcode.PING))

    assert await transport.receive() == []
    assert transport.queued_bytes == 3 + PIECE_BYTES
    await theirs.send_all(masked(b"next"))
    assert await transport.receive() == [b"next"]
    assert await theirs.receive_some() == b"\x8a\x01n"


async def test_a_flood_of_pings_is_answered_with_4429_and_bounded_memory() -> None:
    async with connected() as (transport, peer):
        await peer.send_all(masked(b"p" * 125, Opcode.PING) * 30)
        async with trio.open_nursery() as nursery:
            with pytest.raises(PeerGoneError):
                await receive_nothing(transport)
            assert transport.queued_bytes < 21 * (127 + PIECE_BYTES)
            nursery.start_soon(transport.aclose)
            reader = Reader(peer)
            await reader.read_to_end()
            assert reader.framing.close_code_received == 4429
            await peer.aclose()
