"""Opening one connection to a relay from a generator process."""

from __future__ import annotations

import asyncio
import socket
from functools import partial
from typing import Final

import msgspec
from picows import (
    WSError,
    WSHandshakeError,
    WSListener,
    WSTransport,
    WSUpgradeResponse,
    ws_connect,
)
from picows.url import WSParsedURL

from bench.process import LoadError
from ksmp.codec import MSGPACK, Codec
from ksmp.events import Error

HANDSHAKE_SECONDS: Final = 30.0
"""Also how long the relay may take to answer the resume."""


SEGMENT_BYTES: Final = 1_440
"""What fits into a packet of a network."""


async def open_websocket(
    listener: WSListener,
    url: str,
    token: str,
    *,
    codec: Codec = MSGPACK,
    answers_pings: bool = False,
    receive_bytes: int | None = None,
) -> WSTransport:
    """Connect `listener` as the token's user, speaking one subprotocol.

    The relay's first frames may reach the listener before this returns. Its pings are answered
    unseen, unless the listener says that it `answers_pings` itself.
    With `receive_bytes` the system keeps about so much of what nobody reads, instead of megabytes.

    Raises:
        LoadError: the relay is not there, refuses, or hangs up.
    """
    headers = {
        "Authorization": f"Bearer {token}",
        "Sec-WebSocket-Protocol": codec.subprotocol,
    }
    try:
        transport, _ = await ws_connect(
            lambda: listener,
            url,
            extra_headers=headers,
            websocket_handshake_timeout=HANDSHAKE_SECONDS,
            enable_auto_pong=not answers_pings,
            socket_factory=None if receive_bytes is None else partial(_small, receive_bytes),
        )
    except WSHandshakeError as error:
        raise LoadError(f"the relay refused the handshake: {_refusal(error)}") from None
    except (OSError, WSError) as error:
        raise LoadError(f"cannot connect: {type(error).__name__}") from None
    _require_upgrade(transport)
    return transport


def _require_upgrade(transport: WSTransport) -> None:
    """Of a peer that closes before it has answered picows says nothing, and calls nobody."""
    response: WSUpgradeResponse | None = transport.response
    if response is None:
        raise LoadError("the relay hung up during the handshake")


async def resumed_websocket(
    listener: WSListener,
    url: str,
    token: str,
    resumed: asyncio.Future[None],
    *,
    codec: Codec = MSGPACK,
) -> WSTransport:
    """Connect a listener that resumes when it is welcome, and wait until it says that it has.

    Raises:
        LoadError: the relay is not there, refuses, or does not answer.
    """
    transport = await open_websocket(listener, url, token, codec=codec)
    try:
        async with asyncio.timeout(HANDSHAKE_SECONDS):
            await resumed
    except TimeoutError:
        raise LoadError("a connection was opened, and its resume not answered") from None
    return transport


def _small(receive_bytes: int, url: WSParsedURL) -> socket.socket:
    """A socket whose window is small from the beginning: later it could only grow.

    Over loopback segments are of 64 KiB, and the sender's system keeps megabytes of them. With
    those of a network it keeps about half a megabyte.
    """
    family = socket.AF_INET6 if ":" in url.host else socket.AF_INET
    small = socket.socket(family, socket.SOCK_STREAM)
    small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    small.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT_BYTES)
    small.setblocking(False)
    return small


def _refusal(error: WSHandshakeError) -> str:
    """The status, and the code where the relay's answer holds one."""
    status = "no status" if error.response is None else str(int(error.response.status))
    try:
        return f"{status} {msgspec.json.decode(error.raw_body or b'', type=Error).code}"
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return status
