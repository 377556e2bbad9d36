"""One WebSocket over an anyio byte stream: the upgrade, then messages both ways at once.

One task reads (`Line.receive`) and one writes (`Line.write`), so no caller's cancellation can leave
half a frame on the stream. Framing is `ksmp.websocket`'s; here is only I/O.
"""

from __future__ import annotations

from ssl import SSLContext
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import anyio
from anyio.abc import ByteStream

from ksmp.client.errors import HandshakeRefusedError
from ksmp.client.signal import Signal
from ksmp.codec import JSON, Codec
from ksmp.events import Error
from ksmp.malformed import UndecodableError
from ksmp.upgrade import ClientHandshake, UpgradeRefusedError
from ksmp.websocket import ClientFraming

RELAY_PATH: Final = "/ksmp/v3"
MAX_UNWRITTEN_BYTES: Final = 1024 * 1024
"""Past this, senders wait. Pongs and the close frame are queued all the same."""

_PORTS: Final = {"ws": 80, "wss": 443}
_READ_BYTES: Final = 65_536
_LINE_ERRORS: Final = (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError)


class Target(NamedTuple):
    """Where a URL points."""

    host: str
    port: int
    path: str
    is_secure: bool


def target_of(url: str) -> Target:
    """The parts of a ws:// or wss:// URL; without a path it is the relay's usual one.

    Raises:
        ValueError: another kind of URL, or one with a query, credentials or a fragment, which
            the relay refuses or would never see.
    """
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ValueError("the URL of a relay begins with ws:// or wss:// and names a host")
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError("the URL of a relay has no query, no credentials and no fragment")
    path = parts.path if parts.path.strip("/") else RELAY_PATH
    return Target(parts.hostname, parts.port or _PORTS[parts.scheme], path, parts.scheme == "wss")


class Line:
    """An open WebSocket. Messages are read by one task and written by another.

    Sending never waits for the peer to send and receiving never waits for it to read, so neither
    end can block the other for ever.
    """

    def __init__(self, stream: ByteStream, framing: ClientFraming, first_bytes: bytes) -> None:
        self._stream = stream
        self._framing = framing
        self._first_bytes = first_bytes
        self._unwritten: list[bytes] = []
        self._unwritten_bytes = 0
        self._is_over = False
        self._to_write = Signal()
        self._written = Signal()

    @property
    def close_code(self) -> int | None:
        """The code of the close that ended it: the peer's, else ours; None before and without."""
        return self._framing.close_code_received or self._framing.close_code_sent

    async def send(self, message: bytes) -> None:
        """Queue one message; wait while too much is queued. Once it is over, do nothing."""
        while self._unwritten_bytes >= MAX_UNWRITTEN_BYTES and not self._is_over:
            await self._written.wait()
        self._framing.send(message)
        self._collect()

    def close(self, code: int) -> None:
        """Queue a close frame behind what is queued."""
        self._framing.close(code)
        self._collect()

    async def receive(self, silence_seconds: float) -> list[bytes | bytearray] | None:
        """The messages that the next read completes, perhaps none; None when it is over.

        After `silence_seconds` without a byte the peer is pinged, after twice that it is taken
        for dead. The time between two calls does not count.
        """
        if self._first_bytes:
            first_bytes, self._first_bytes = self._first_bytes, b""
            return self._take(first_bytes)
        if self._framing.is_finished:
            return None
        chunk = await self._read(silence_seconds)
        if chunk:
            return self._take(chunk)
        self._framing.receive_eof()
        return None

    async def write(self) -> None:
        """Write what is queued, until the line breaks or `end` is called and all is written."""
        while self._unwritten or not self._is_over:
            if not self._unwritten:
                await self._to_write.wait()
                continue
            batch, self._unwritten = b"".join(self._unwritten), []
            try:
                await self._stream.send(batch)
            except _LINE_ERRORS:
                self._unwritten.clear()
                self.end()
                return
            self._unwritten_bytes -= len(batch)
            self._written.wake()

    def end(self) -> None:
        """Nothing more is queued; `write` returns when it has written what is."""
        self._is_over = True
        self._to_write.wake()
        self._written.wake()

    async def release(self) -> None:
        """Close the stream, whatever is queued."""
        self.end()
        await anyio.aclose_forcefully(self._stream)

    def _take(self, chunk: bytes) -> list[bytes | bytearray]:
        messages = self._framing.receive(chunk, anyio.current_time())
        self._collect()
        return messages

    async def _read(self, silence_seconds: float) -> bytes:
        """The next bytes; none at the end, which a broken line and a dead peer are too."""
        try:
            with anyio.move_on_after(silence_seconds):
                return await self._stream.receive(_READ_BYTES)
            self._framing.ping()
            self._collect()
            with anyio.move_on_after(silence_seconds):
                return await self._stream.receive(_READ_BYTES)
        except (anyio.EndOfStream, *_LINE_ERRORS):
            pass
        return b""

    def _collect(self) -> None:
        """Hand what the framing has produced to the writer."""
        for piece in self._framing.outgoing():
            self._unwritten.append(piece)
            self._unwritten_bytes += len(piece)
        if self._unwritten:
            self._to_write.wake()


async def open_line(
    url: str, token: str, codec: Codec, ssl_context: SSLContext | None, max_frame_bytes: int
) -> Line:
    """Connect and upgrade.

    Raises:
        HandshakeRefusedError: the relay refused the upgrade.
        OSError: it cannot be reached, or TLS failed.
    """
    target = target_of(url)
    handshake = ClientHandshake(
        host=target.host,
        port=target.port,
        is_secure=target.is_secure,
        path=target.path,
        subprotocol=codec.subprotocol,
        is_text=codec.is_text,
        token=token,
        max_frame_bytes=max_frame_bytes,
    )
    stream = await _connect(target, ssl_context)
    try:
        return await _upgrade(stream, handshake)
    except BaseException:
        with anyio.CancelScope(shield=True):
            await anyio.aclose_forcefully(stream)
        raise


async def _connect(target: Target, ssl_context: SSLContext | None) -> ByteStream:
    if not target.is_secure:
        return await anyio.connect_tcp(target.host, target.port)
    return await anyio.connect_tcp(
        target.host,
        target.port,
        tls=True,
        ssl_context=ssl_context,
        tls_standard_compatible=False,  # a WebSocket has its own end, the close frame
    )


async def _upgrade(stream: ByteStream, handshake: ClientHandshake) -> Line:
    try:
        await stream.send(handshake.request)
        while True:
            try:
                chunk = await stream.receive(_READ_BYTES)
            except anyio.EndOfStream:
                chunk = b""
            upgraded = handshake.receive(chunk)
            if upgraded is not None:
                return Line(stream, *upgraded)
    except UpgradeRefusedError as refusal:
        raise HandshakeRefusedError(refusal.status, _error_in(refusal.body)) from None
    except (anyio.BrokenResourceError, anyio.ClosedResourceError):
        raise ConnectionResetError("the relay hung up during the handshake") from None


def _error_in(body: bytes) -> Error | None:
    """The `ksmpv3.error` in the body of a refusal, where there is one."""
    try:
        event = JSON.decode_server_event(body)
    except UndecodableError:
        return None
    return event if isinstance(event, Error) else None
