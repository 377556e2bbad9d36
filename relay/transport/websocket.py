"""The WebSocket that a connection actor speaks through: `ServerFraming` over a `ByteStream`.

It has no task of its own. Frames are made as they are sent and judged as they are read, all of one
read together; what goes out waits in a `WriteQueue`.
"""

from __future__ import annotations

from types import TracebackType
from typing import Final, Self

import trio

from actors.transport import AtOnce, PeerGoneError, leave
from ksmp.websocket import ServerFraming, frame_header
from relay.transport.handshake import Upgrade, acceptance
from relay.transport.limits import TransportLimits
from relay.transport.stream import BROKEN, ByteStream, Take, close_gently
from relay.transport.write_queue import WriteQueue

IRREGULAR_BYTES: Final = 2_048
"""Of fragments, control frames and whatever else is no plain message, looked at in one turn."""


def open_websocket(
    stream: ByteStream, upgrade: Upgrade, rest: bytes, limits: TransportLimits
) -> WebSocketTransport:
    """See `relay.transport.opening.OpenTransport`."""
    framing = ServerFraming(**limits.of_frames(is_text=upgrade.codec.is_text))
    transport = WebSocketTransport(
        stream,
        framing,
        is_text=upgrade.codec.is_text,
        write_seconds=limits.write_seconds,
        acceptance=acceptance(upgrade),
        received=rest,
    )
    transport.flush()
    return transport


class WebSocketTransport:
    """Implements `actors.transport.Transport` on any byte stream.

    It can be entered as a block, as all that is opened can; there is nothing to end with the block.
    """

    __slots__ = (
        "_framing",
        "_is_catching_up",
        "_is_text",
        "_last_heard",
        "_out",
        "_received",
        "_stream",
    )

    def __init__(
        self,
        stream: ByteStream,
        framing: ServerFraming,
        *,
        is_text: bool,
        write_seconds: float,
        acceptance: bytes = b"",
        received: bytes | bytearray = b"",
    ) -> None:
        """`acceptance` goes out before anything else; `received` is read before the stream is."""
        self._stream = stream
        self._framing = framing
        self._is_text = is_text
        self._received = received
        self._out = WriteQueue(stream, write_seconds)
        if acceptance:
            self._out.put(acceptance)
            self._out.owes_control = True
        self._is_catching_up = False
        self._last_heard = trio.current_time()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pass

    @property
    def queued_bytes(self) -> int:
        """See `Transport`."""
        return self._out.queued_bytes

    @property
    def last_heard(self) -> float:
        """See `Transport`."""
        return trio.current_time() if self._is_catching_up else self._last_heard

    @property
    def close_code(self) -> int | None:
        """See `Transport`."""
        return self._framing.close_code_sent

    # ── receiving ────────────────────────────────────────────────────────────────────────────

    async def receive(self, at_once: AtOnce = leave) -> list[bytes | bytearray]:
        """See `Transport`. Pongs and close replies are on their way when this returns."""
        self._require_peer()
        if self._out.owes_control:
            # The writer task knows nothing of pongs, and this peer is not reading them.
            self._is_catching_up = True  # the silence is ours: the socket is not being read
            try:
                await self.drain()
            finally:
                self._is_catching_up = False
                self._last_heard = trio.current_time()
        left: list[bytes | bytearray] = []

        def take(chunk: bytes | bytearray) -> bool:
            nonlocal left
            left = self._judge(chunk)
            return (not left or at_once(left)) and self._is_undisturbed

        chunk = await self._next_chunk(take)
        messages = left if chunk is None else self._judge(chunk)
        if not messages:
            self._require_peer()
        return messages

    @property
    def _is_undisturbed(self) -> bool:
        """Whether the next bytes may be looked at without a word from the task that receives."""
        return not (
            self._received
            or self._out.owes_control
            or self._out.is_gone
            or self._framing.is_finished
        )

    def _judge(self, chunk: bytes | bytearray) -> list[bytes | bytearray]:
        """The messages that `chunk` completes; pongs and close replies are on their way."""
        now = self._last_heard = trio.current_time()
        messages = self._framing.receive(chunk, now, IRREGULAR_BYTES)
        self._received = self._framing.unread
        if outgoing := self._framing.outgoing():
            self._out.put(*outgoing)
            self._out.flush_control()
        return messages

    def _require_peer(self) -> None:
        if self._out.is_gone or self._framing.is_finished:
            raise PeerGoneError

    async def _next_chunk(self, take: Take) -> bytes | bytearray | None:
        """The next bytes; None where `take` has had some, and wants no more."""
        if self._received:
            chunk, self._received = self._received, b""
            await trio.lowlevel.checkpoint()
            return chunk
        try:
            chunk_read = await self._stream.hand_over(take)
        except BROKEN:
            self._out.lose()
            raise PeerGoneError from None
        if chunk_read is not None and not chunk_read:
            self._framing.receive_eof()
            raise PeerGoneError
        return chunk_read

    # ── sending ──────────────────────────────────────────────────────────────────────────────

    def send(self, message: bytes) -> None:
        """See `Transport`."""
        if self._framing.is_open:
            self._out.put(frame_header(self._is_text, len(message)), message)

    def ping(self) -> None:
        """See `Transport`."""
        self._framing.ping()
        self._out.put(*self._framing.outgoing())

    def note_control(self) -> bool:
        """See `Transport`."""
        return self._framing.note_control(trio.current_time())

    def close(self, code: int) -> None:
        """See `Transport`."""
        self._framing.close(code)
        self._out.put(*self._framing.outgoing())

    def flush(self) -> bool:
        """See `Transport`."""
        return self._out.flush()

    async def drain(self) -> None:
        """See `Transport`."""
        await self._out.drain()

    # ── ending ───────────────────────────────────────────────────────────────────────────────

    def abort(self) -> None:
        """Release the socket at once; what is queued is dropped, and whoever waits is told."""
        self._out.lose()

    async def aclose(self) -> None:
        """See `Transport`. Cancelled, it sends what can be sent at once and releases the socket."""
        self.close(1000)
        self.flush()
        try:
            await self._out.finish(self._await_close)
        finally:
            # Whoever still waits for an answer keeps this alive, but not what came in part.
            self._framing.forget()
            self._received = b""

    async def _await_close(self) -> None:
        """Read and discard until the peer has closed too, so that our close is not lost."""
        if self._stream.can_half_close:
            await close_gently(self._stream)
            return
        while self._framing.close_code_received is None:
            if chunk := await self._next_chunk(self._discard):
                self._discard(chunk)
        await self._stream.aclose()

    def _discard(self, chunk: bytes | bytearray) -> bool:
        self._framing.receive(chunk, trio.current_time())
        return self._framing.close_code_received is None
