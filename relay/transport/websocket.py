"""The WebSocket that a connection actor speaks through: `ServerFraming` over a `ByteStream`.

What is sent is queued as it was handed in: header, payload, header, payload … Small pieces are
joined when they are written, so that a turn's frames cost one system call. Three ways out:

    flush    from any plain function: what the operating system takes at once
    drain    from the writer task, when flush left something: piece by piece, each in its time
    aclose   the end: drain, wait briefly for the peer's close, release the stream

Whoever is slow keeps at most what is queued here; the queue is bounded by its owner, who stops
reading from a peer that does not read.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import trio

from actors.transport import PeerGoneError, SlowPeerError
from ksmp.websocket import ServerFraming, frame_header
from relay.transport.stream import RECEIVE_BYTES, Bytes, ByteStream, close_gently

FLUSH_BYTES: Final = 65_536
DRAIN_BYTES: Final = 16_384
LINGER_SECONDS: Final = 1.0

_BROKEN = (trio.BrokenResourceError, trio.ClosedResourceError)


class WebSocketTransport:
    """Implements `actors.transport.Transport` on any byte stream."""

    def __init__(
        self,
        stream: ByteStream,
        framing: ServerFraming,
        *,
        is_text: bool,
        write_seconds: float,
        acceptance: bytes = b"",
        received: bytes = b"",
    ) -> None:
        """`acceptance` goes out before anything else; `received` is read before the stream is."""
        self._stream = stream
        self._framing = framing
        self._is_text = is_text
        self._write_seconds = write_seconds
        self._received = received
        self._queue: deque[Bytes] = deque((acceptance,) if acceptance else ())
        self._queued_bytes = len(acceptance)
        self._writing = trio.Lock()
        self._is_gone = False
        self._is_slow = False
        self._owes_control = bool(acceptance)
        self._is_catching_up = False
        self._last_heard = trio.current_time()

    @property
    def queued_bytes(self) -> int:
        """See `Transport`."""
        return self._queued_bytes

    @property
    def last_heard(self) -> float:
        """See `Transport`."""
        return trio.current_time() if self._is_catching_up else self._last_heard

    @property
    def close_code(self) -> int | None:
        """See `Transport`."""
        return self._framing.close_code_sent

    # ── receiving ────────────────────────────────────────────────────────────────────────────

    async def receive(self) -> list[bytes | bytearray]:
        """See `Transport`. Pongs and close replies are on their way when this returns."""
        self._require_peer()
        if self._owes_control:
            # The writer task knows nothing of pongs, and this peer is not reading them.
            self._is_catching_up = True  # the silence is ours: the socket is not being read
            try:
                await self.drain()
            finally:
                self._is_catching_up = False
                self._last_heard = trio.current_time()
        chunk = await self._next_chunk()
        now = self._last_heard = trio.current_time()
        messages = self._framing.receive(chunk, now)
        self._queue_control()
        if not messages:
            self._require_peer()
        return messages

    def _require_peer(self) -> None:
        if self._is_gone or self._framing.is_finished:
            raise PeerGoneError

    async def _next_chunk(self) -> bytes | bytearray:
        if self._received:
            chunk, self._received = self._received, b""
            await trio.lowlevel.checkpoint()
            return chunk
        try:
            chunk_read = await self._stream.receive_some(RECEIVE_BYTES)
        except _BROKEN:
            self._lose()
            raise PeerGoneError from None
        if not chunk_read:
            self._framing.receive_eof()
            raise PeerGoneError
        return chunk_read

    # ── sending ──────────────────────────────────────────────────────────────────────────────

    def send(self, message: bytes) -> None:
        """See `Transport`."""
        if self._is_gone or not self._framing.is_open:
            return
        header = frame_header(self._is_text, len(message))
        self._queue.append(header)
        self._queue.append(message)
        self._queued_bytes += len(header) + len(message)

    def ping(self) -> None:
        """See `Transport`."""
        self._framing.ping()
        self._queue_outgoing()

    def note_control(self) -> bool:
        """See `Transport`."""
        return self._framing.note_control(trio.current_time())

    def close(self, code: int) -> None:
        """See `Transport`."""
        self._framing.close(code)
        self._queue_outgoing()

    def flush(self) -> bool:
        """See `Transport`."""
        if self._writing.locked():
            return False
        try:
            while self._queue:
                piece = self._take(FLUSH_BYTES)
                taken = self._stream.send_nowait(piece)
                self._settle(piece, taken)
                if taken < len(piece):
                    return False
        except _BROKEN:
            self._lose()
        self._owes_control = False
        return True

    async def drain(self) -> None:
        """See `Transport`."""
        async with self._writing:
            while self._queue:
                await self._write(self._take(DRAIN_BYTES))
        if self._is_gone:
            raise PeerGoneError
        self._owes_control = False

    async def _write(self, piece: Bytes) -> None:
        """Write the whole of `piece` within the write-progress limit, or raise.

        Whatever ends this early, what was not written is at the front of the queue again.
        """
        rest = memoryview(piece)
        try:
            with trio.move_on_after(self._write_seconds) as in_time:
                while rest:
                    taken = await self._stream.send_some(rest)
                    self._queued_bytes -= taken
                    rest = rest[taken:]
        except _BROKEN:
            self._lose()
            raise PeerGoneError from None
        finally:
            if rest and not self._is_gone:
                self._queue.appendleft(rest)
        if in_time.cancelled_caught:
            self._is_slow = True
            raise SlowPeerError

    def _take(self, max_bytes: int) -> Bytes:
        """Take the front of the queue, pieces joined. `_queued_bytes` still counts it."""
        pieces: list[Bytes] = []
        room = max_bytes
        while self._queue and room:
            piece = self._queue.popleft()
            if len(piece) > room:
                view = memoryview(piece)
                self._queue.appendleft(view[room:])
                piece = view[:room]
            pieces.append(piece)
            room -= len(piece)
        return b"".join(pieces) if len(pieces) > 1 else pieces[0]

    def _settle(self, piece: Bytes, taken: int) -> None:
        self._queued_bytes -= taken
        if taken < len(piece):
            self._queue.appendleft(memoryview(piece)[taken:] if taken else piece)

    def _queue_outgoing(self) -> None:
        """Queue the framing's own frames behind everything else."""
        outgoing = self._framing.outgoing()
        if outgoing and not self._is_gone:
            self._queue.extend(outgoing)
            self._queued_bytes += sum(map(len, outgoing))

    def _queue_control(self) -> None:
        queued_before = self._queued_bytes
        self._queue_outgoing()
        if self._queued_bytes > queued_before:
            self._owes_control = not self.flush()

    # ── ending ───────────────────────────────────────────────────────────────────────────────

    def abort(self) -> None:
        """See `Transport`."""
        self._lose()

    async def aclose(self) -> None:
        """See `Transport`. Cancelled, it sends what can be sent at once and releases the socket.

        A peer that did not take a piece in time has had its time: it gets the linger, no more.
        """
        self.close(1000)
        self.flush()
        try:
            with trio.move_on_after(LINGER_SECONDS if self._is_slow else self._write_seconds):
                await self.drain()
                with trio.move_on_after(LINGER_SECONDS):
                    await self._await_close()
        except PeerGoneError:
            pass
        finally:
            self._lose()

    async def _await_close(self) -> None:
        """Read and discard until the peer has closed too, so that our close is not lost."""
        if self._stream.can_half_close:
            await close_gently(self._stream, LINGER_SECONDS)
            return
        while self._framing.close_code_received is None:
            self._framing.receive(await self._next_chunk(), trio.current_time())
        await self._stream.aclose()

    def _lose(self) -> None:
        """Give up the line: nothing is queued any more, and whoever waits on it is told."""
        self._is_gone = True
        self._queue.clear()
        self._queued_bytes = 0
        self._stream.abort()
