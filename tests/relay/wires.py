"""Both transports on a real connection, and a peer that speaks through it in bytes of its own."""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Final

import trio
from trio.testing import memory_stream_pair
from websockets.frames import Close, Frame, Opcode

from actors.transport import Transport
from ksmp.codec import MSGPACK, Codec
from ksmp.websocket import ClientFraming
from relay.transport.arrivals import Epoll, watching
from relay.transport.handshake import Upgrade, acceptance
from relay.transport.limits import TransportLimits
from relay.transport.opening import OpenTransport
from relay.transport.stream import ByteStream, TcpStream, WrappedStream

LIMIT: Final = 300_000
RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
MESSAGES: Final = [b"", b"a", b"b" * 125, b"c" * 126, b"d" * 70_000, b"e" * 200_000, b"f"]
"""Of every length that a header can say, and longer than a socket holds."""

KEY: Final = "dGhlIHNhbXBsZSBub25jZQ=="


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
    client.setblocking(False)
    with server, client:
        yield server, client


def masked(payload: bytes, opcode: Opcode = Opcode.BINARY, *, fin: bool = True) -> bytes:
    return Frame(opcode, payload, fin).serialize(mask=True)


def close_frame(code: int) -> bytes:
    return masked(Close(code, "").serialize(), Opcode.CLOSE)


class Reader:
    """A peer that reads messages."""

    def __init__(self, stream: trio.abc.ReceiveStream, *, is_text: bool = False) -> None:
        self.framing = ClientFraming(is_text=is_text, max_frame_bytes=LIMIT)
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


async def receive(transport: Transport, count: int) -> list[bytes]:
    """The next messages, however many at a time they come."""
    messages: list[bytes] = []
    while len(messages) < count:
        messages += map(bytes, await transport.receive())
    return messages


async def receive_nothing(transport: Transport) -> None:
    """Receive until the transport says that there will be no more."""
    while True:
        assert await transport.receive() == []


@dataclass(frozen=True)
class Wires:
    """Opens one kind of transport. Its peer has read the acceptance already."""

    open: OpenTransport
    open_epoll: Callable[[], Epoll | None] = lambda: None

    @asynccontextmanager
    async def on(
        self,
        stream: ByteStream,
        peer: trio.abc.ReceiveStream,
        *,
        codec: Codec = MSGPACK,
        received: bytes = b"",
        write_seconds: float = 10.0,
        max_frame_bytes: int = LIMIT,
    ) -> AsyncIterator[Transport]:
        """The transport on `stream`, whose other end is `peer`."""
        upgrade = Upgrade(KEY, codec, codec.subprotocol, None)
        limits = TransportLimits(max_frame_bytes, write_seconds=write_seconds)
        async with self.open(stream, upgrade, received, limits) as transport:
            expected = acceptance(upgrade)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(transport.drain)
                accepted = b""
                while len(accepted) < len(expected):
                    accepted += await peer.receive_some(len(expected) - len(accepted))
            assert accepted.lower() == expected.lower()
            yield transport

    @asynccontextmanager
    async def connected(
        self,
        *,
        codec: Codec = MSGPACK,
        received: bytes = b"",
        write_seconds: float = 10.0,
        max_frame_bytes: int = LIMIT,
    ) -> AsyncIterator[tuple[Transport, trio.SocketStream]]:
        """A transport over TCP, and the raw stream of its peer."""
        with tcp_pair() as (server, client):
            peer = trio.SocketStream(trio.socket.from_stdlib_socket(client))
            async with (
                watching(self.open_epoll) as arrivals,
                self.on(
                    TcpStream(server, arrivals),
                    peer,
                    codec=codec,
                    received=received,
                    write_seconds=write_seconds,
                    max_frame_bytes=max_frame_bytes,
                ) as transport,
            ):
                yield transport, peer

    @asynccontextmanager
    async def in_memory(
        self, *, codec: Codec = MSGPACK, received: bytes = b""
    ) -> AsyncIterator[tuple[Transport, trio.StapledStream]]:
        """A transport over a stream in memory, which never takes anything at once; and its peer."""
        ours, theirs = memory_stream_pair()
        stream = WrappedStream(ours, ours.send_stream.close)
        async with self.on(stream, theirs, codec=codec, received=received) as transport:
            yield transport, theirs
