"""The failpoints between a connection actor and its WebSocket: messages in, writes out."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import trio

from actors.transport import AtOnce, Transport, leave
from relay.transport.handshake import Upgrade
from relay.transport.limits import TransportLimits
from relay.transport.opening import OpenTransport
from relay.transport.stream import ByteStream
from storage.failpoints import Failpoint


class FaultyOpening:
    """Opens transports as `opening` does, with failpoints on the way in and on the way out."""

    def __init__(self, opening: OpenTransport, decode: Failpoint, send: Failpoint) -> None:
        self._opening = opening
        self._decode = decode
        self._send = send

    def __call__(
        self, stream: ByteStream, upgrade: Upgrade, rest: bytes, limits: TransportLimits
    ) -> AbstractAsyncContextManager[Transport]:
        """See `OpenTransport`."""
        opened = self._opening(stream, upgrade, rest, limits)
        return self._faulty(opened, stream)

    @asynccontextmanager
    async def _faulty(
        self, opened: AbstractAsyncContextManager[Transport], stream: ByteStream
    ) -> AsyncIterator[Transport]:
        async with opened as transport:
            yield FaultyTransport(transport, stream, self._decode, self._send)


class FaultyTransport:
    """A `Transport` on another one. Each message in, and each write of what was queued, can fail.

    A write is hit once, whether it succeeds at once or in pieces.
    """

    def __init__(
        self, transport: Transport, stream: ByteStream, decode: Failpoint, send: Failpoint
    ) -> None:
        self._transport = transport
        self._stream = stream
        self._decode = decode
        self._send = send
        self._received: deque[bytes | bytearray] = deque()
        self._is_new = False  # something is queued that no write has been tried with

    @property
    def queued_bytes(self) -> int:
        """See `Transport`."""
        return self._transport.queued_bytes

    @property
    def last_heard(self) -> float:
        """See `Transport`."""
        return self._transport.last_heard

    @property
    def close_code(self) -> int | None:
        """See `Transport`."""
        return self._transport.close_code

    def note_control(self) -> bool:
        """See `Transport`."""
        return self._transport.note_control()

    # ── in ───────────────────────────────────────────────────────────────────────────────────

    async def receive(self, at_once: AtOnce = leave) -> Sequence[bytes | bytearray]:
        """See `Transport`. While faults are ordered, one message at a time; all are results.

        Raises:
            OrderedFaultError: that is what is ordered.
        """
        if not self._received:
            messages = await self._transport.receive()
            if not self._decode.orders:
                return messages
            self._received.extend(messages)
        if self._received:
            await trio.lowlevel.checkpoint()  # others have their turn between any two
            message = self._received.popleft()
            if not await self._decode.reach():
                return [message]
        return []

    # ── out ──────────────────────────────────────────────────────────────────────────────────

    def send(self, message: bytes) -> None:
        """See `Transport`."""
        self._is_new = True
        self._transport.send(message)

    def ping(self) -> None:
        """See `Transport`."""
        self._is_new = True
        self._transport.ping()

    def close(self, code: int) -> None:
        """See `Transport`."""
        self._is_new = True
        self._transport.close(code)

    def flush(self) -> bool:
        """See `Transport`.

        Raises:
            OrderedFaultError: that is what is ordered.
        """
        self._write()
        return self._transport.flush()

    async def drain(self) -> None:
        """See `Transport`.

        Raises:
            OrderedFaultError: that is what is ordered.
        """
        self._write()
        await self._transport.drain()

    def _write(self) -> None:
        if self._is_new and self._transport.queued_bytes:
            self._is_new = False
            if self._send.hit():
                self._stream.abort()

    async def aclose(self) -> None:
        """See `Transport`."""
        self._received.clear()
        await self._transport.aclose()
