"""How many handshakes may be in progress at once, and which gives way when there are more."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from relay.transport.stream import TcpStream


class PendingHandshakes:
    """At most `limit` at once: the next one costs another its connection, without an answer.

    That is the oldest of the address that has most of them. So a flood from one address holds no
    more descriptors than the limit, and whoever it keeps out comes from there too.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._number = 0
        self._by_address: dict[str, dict[TcpStream, None]] = {}  # sets that keep the order

    def adopt(self, limit: int) -> None:
        """Keep to `limit` from the next handshake on."""
        self._limit = limit

    def __len__(self) -> int:
        return self._number

    @contextmanager
    def one(self, stream: TcpStream, address: str) -> Iterator[None]:
        """The handshake of `stream`, which is aborted if it has to give way."""
        while self._number >= self._limit:
            self.end_one()
        self._by_address.setdefault(address, {})[stream] = None
        self._number += 1
        try:
            yield
        finally:
            self._forget(stream, address)

    def end_one(self) -> bool:
        """Abort one, whose descriptor is free at once; False where there is none."""
        if not self._by_address:
            return False
        address = max(self._by_address, key=lambda each: len(self._by_address[each]))
        oldest = next(iter(self._by_address[address]))
        self._forget(oldest, address)
        oldest.abort()
        return True

    def _forget(self, stream: TcpStream, address: str) -> None:
        streams = self._by_address.get(address, {})
        if stream in streams:
            del streams[stream]
            self._number -= 1
            if not streams:
                del self._by_address[address]
