"""How many handshakes may be in progress at once, and which gives way when there are more."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from relay.transport.stream import TcpStream


class PendingHandshakes:
    """At most `limit` at once: the next one costs the oldest its connection, without an answer.

    A flood of silent connections therefore holds no more descriptors than that, and keeps nobody
    out: whoever makes haste is through long before as many others have come.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._in_progress: dict[TcpStream, None] = {}  # a set that keeps the order

    def adopt(self, limit: int) -> None:
        """Keep to `limit` from the next handshake on."""
        self._limit = limit

    def __len__(self) -> int:
        return len(self._in_progress)

    @contextmanager
    def one(self, stream: TcpStream) -> Iterator[None]:
        """The handshake of `stream`, which is aborted if it has to give way."""
        while len(self._in_progress) >= self._limit:
            self.end_oldest()
        self._in_progress[stream] = None
        try:
            yield
        finally:
            self._in_progress.pop(stream, None)

    def end_oldest(self) -> bool:
        """Abort the oldest, whose descriptor is free at once; False where there is none."""
        oldest = next(iter(self._in_progress), None)
        if oldest is None:
            return False
        del self._in_progress[oldest]
        oldest.abort()
        return True
