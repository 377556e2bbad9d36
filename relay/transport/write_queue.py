"""Bytes on their way out: queued without waiting, written in order, each piece in its time.

What is queued is kept as it was handed in; small pieces are joined when they are written, so that
what one turn has to say costs one system call. Three ways out:

    flush    from any plain function: what the operating system takes at once
    drain    from a task, when flush left something: piece by piece, each within its time
    finish   the end: drain, then whatever shows that it has arrived, then the stream is released

Whoever is slow keeps at most what is queued here; the queue is bounded by its owner, who stops
reading from a peer that does not read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from actors.transport import PeerGoneError, SlowPeerError
from relay.transport.stream import BROKEN, LINGER_SECONDS, Bytes, ByteStream

FLUSH_BYTES: Final = 65_536
DRAIN_BYTES: Final = 16_384

PIECE_BYTES: Final = 64
"""What a queued piece costs beside its bytes: the object holding them, its place in the queue."""

SENT_KEPT_BYTES: Final = 32_768
"""How much of a piece may have been sent before what is left is copied, and the rest freed."""


class WriteQueue:
    """Writes to one stream what is put into it, once, in order, whoever is cancelled meanwhile."""

    __slots__ = (
        "_pieces",
        "_queued_bytes",
        "_stream",
        "_write_seconds",
        "_writing",
        "is_gone",
        "is_slow",
        "owes_control",
    )

    def __init__(self, stream: ByteStream, write_seconds: float) -> None:
        """A peer has `write_seconds` to take each piece of 16 KiB."""
        self._stream = stream
        self._write_seconds = write_seconds
        self._pieces: deque[Bytes] = deque()
        self._writing = trio.Lock()
        self._queued_bytes = 0
        self.is_gone = False
        """The line is broken, or given up."""
        self.is_slow = False
        """A piece was not taken in time."""
        self.owes_control = False
        """Something is queued that nobody will drain but who reads: drain before reading more."""

    @property
    def queued_bytes(self) -> int:
        """What waits here costs this much memory."""
        return self._queued_bytes + PIECE_BYTES * len(self._pieces)

    def put(self, *pieces: Bytes) -> None:
        """Queue these behind everything else."""
        if not self.is_gone:
            for piece in pieces:
                self._pieces.append(piece)
                self._queued_bytes += len(piece)

    def flush(self) -> bool:
        """Write what is taken at once; True when nothing is left. Never raises."""
        if self._writing.locked():
            return False
        try:
            while self._pieces:
                piece = self._take(FLUSH_BYTES)
                taken = self._stream.send_nowait(piece)
                self._settle(piece, taken)
                if taken < len(piece):
                    self._let_go_of_what_is_sent()
                    return False
        except BROKEN:
            self.lose()
        self.owes_control = False
        return True

    def flush_control(self) -> None:
        """Write what is taken at once, and owe the rest."""
        self.owes_control = not self.flush()

    async def drain(self) -> None:
        """Write all that is queued, each piece within its time.

        Raises:
            SlowPeerError: a piece was not taken in time.
            PeerGoneError: the line is broken.
        """
        async with self._writing:
            while self._pieces:
                piece = self._take(DRAIN_BYTES)
                self._let_go_of_what_is_sent()
                # Of a long message, a copy: the rest of it may be let go before this is written.
                await self._write(bytes(piece) if isinstance(piece, memoryview) else piece)
        if self.is_gone:
            raise PeerGoneError
        self.owes_control = False

    async def finish(self, await_close: Callable[[], Awaitable[None]]) -> None:
        """Drain, give `await_close` a second, release the stream.

        Cancelled, it releases the stream at once. A peer that did not take a piece in time has had
        its time: it gets that second, no more.
        """
        try:
            with trio.move_on_after(LINGER_SECONDS if self.is_slow else self._write_seconds):
                await self.drain()
                with trio.move_on_after(LINGER_SECONDS):
                    await await_close()
        except PeerGoneError:
            pass
        finally:
            self.lose()

    def lose(self) -> None:
        """Give up the line: nothing is queued any more, and whoever waits on it is told."""
        self.is_gone = True
        self._pieces.clear()
        self._queued_bytes = 0
        self._stream.abort()

    async def _write(self, piece: Bytes) -> None:
        """Write the whole of `piece` within its time, or raise.

        Whatever ends this early, what was not written is at the front of the queue again.
        """
        rest = memoryview(piece)
        try:
            with trio.move_on_after(self._write_seconds) as in_time:
                while rest:
                    taken = await self._stream.send_some(rest)
                    self._queued_bytes -= taken
                    rest = rest[taken:]
        except BROKEN:
            self.lose()
            raise PeerGoneError from None
        finally:
            if rest and not self.is_gone:
                self._pieces.appendleft(rest)
        if in_time.cancelled_caught:
            self.is_slow = True
            raise SlowPeerError

    def _take(self, max_bytes: int) -> Bytes:
        """Take the front of the queue, pieces joined. `_queued_bytes` still counts it."""
        pieces: list[Bytes] = []
        room = max_bytes
        while self._pieces and room:
            piece = self._pieces.popleft()
            if len(piece) > room:
                view = memoryview(piece)
                self._pieces.appendleft(view[room:])
                piece = view[:room]
            pieces.append(piece)
            room -= len(piece)
        return b"".join(pieces) if len(pieces) > 1 else pieces[0]

    def _settle(self, piece: Bytes, taken: int) -> None:
        self._queued_bytes -= taken
        if taken < len(piece):
            self._pieces.appendleft(memoryview(piece)[taken:] if taken else piece)

    def _let_go_of_what_is_sent(self) -> None:
        """A view keeps alive all of what it is a part of, which nobody counts any more.

        Only the first two pieces can be views: what was written in part, and what was cut.
        """
        for index in range(min(2, len(self._pieces))):
            piece = self._pieces[index]
            if not isinstance(piece, memoryview):
                continue
            if memoryview(piece.obj).nbytes - len(piece) > SENT_KEPT_BYTES:
                self._pieces[index] = bytes(piece)
