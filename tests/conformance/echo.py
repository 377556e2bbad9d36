"""The relay's way from a connection to its frames, with an echo where the relay would be.

Listener, front, judge, framing and transports are the shipped ones, unchanged; only their limits
are wide. A connection of theirs takes one kind of message, the one of its subprotocol. The suite
offers no subprotocol, so there is one address for each kind.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final

import trio

from actors.transport import PeerGoneError, Transport
from ksmp.codec import JSON, MSGPACK, Codec
from relay.transport.front import Front
from relay.transport.handshake import PATH, Judge, Upgrade
from relay.transport.http import Request
from relay.transport.limits import TransportLimits
from relay.transport.listener import Listener
from relay.transport.opening import Websocket, opening

LARGEST_MESSAGE: Final = 16 * 1_024 * 1_024
NO_LIMIT: Final = 1_000_000_000

LIMITS: Final = TransportLimits(
    max_frame_bytes=LARGEST_MESSAGE,
    handshake_seconds=30.0,
    write_seconds=60.0,
    control_frames_per_second=NO_LIMIT,
    fragments_per_frame=NO_LIMIT,
)


@dataclass(frozen=True, slots=True)
class Urls:
    """Where text is taken, and where binary messages are."""

    text: str
    binary: str


class OneKindJudge(Judge):
    """The relay's judge, but for the subprotocol: every upgrade gets the same codec."""

    def __init__(self, codec: Codec) -> None:
        super().__init__(allowed_origins=frozenset(), is_secure=False)
        self._codec = codec

    def judge(self, request: Request) -> Upgrade:
        return replace(super().judge(request), codec=self._codec)


class Echo:
    """`relay.transport.front.Reception`: lets everyone in and returns every message."""

    async def authenticate(self, token: str | None, address: str) -> None:
        await trio.lowlevel.checkpoint()

    def admit(self, who: None) -> None:
        """There is always room."""

    async def serve(self, who: None, codec: Codec, transport: Transport) -> None:
        try:
            while True:
                if not transport.flush():  # the first time it is the acceptance that goes out
                    await transport.drain()
                for message in await transport.receive():
                    self.answer(message, codec.is_text, transport)
        except PeerGoneError:
            pass
        finally:
            await transport.aclose()

    def answer(self, message: bytes | bytearray, is_text: bool, transport: Transport) -> None:
        if is_text and not is_utf8(message):
            transport.close(1007)  # RFC 6455 section 8.1; the relay's sessions do the same
        transport.send(bytes(message))


def is_utf8(message: bytes | bytearray) -> bool:
    try:
        message.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


@asynccontextmanager
async def echo_server(websocket: Websocket, echo: Echo | None = None) -> AsyncIterator[Urls]:
    """An echo for each kind of message, on loopback, until the block ends.

    What the relay would report as a bug of a connection fails the block.
    """
    bugs: list[Exception] = []
    reception = echo or Echo()

    def listen(codec: Codec) -> str:
        listening = socket.create_server(("127.0.0.1", 0), backlog=128)
        listening.setblocking(False)
        front = Front(OneKindJudge(codec), reception, LIMITS, open_transport=opening(websocket))
        listener = Listener(
            [listening], front.meet, on_capacity=lambda _number: None, on_bug=bugs.append
        )
        nursery.start_soon(_run, listener)
        return f"ws://127.0.0.1:{listening.getsockname()[1]}{PATH}"

    async with trio.open_nursery() as nursery:
        yield Urls(text=listen(JSON), binary=listen(MSGPACK))
        nursery.cancel_scope.cancel()
    if bugs:
        raise ExceptionGroup("a connection of the echo met a bug", bugs)


async def _run(listener: Listener) -> None:
    try:
        await listener.run()
    finally:
        listener.close()
