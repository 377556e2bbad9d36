"""A TCP connection to a peer: all that one read gives rise to is written with one call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from bench.process import LoadError


class Line(asyncio.Protocol):
    """Bytes in both directions, on an asyncio (uvloop) transport."""

    def __init__(self, fail: Callable[[str], None]) -> None:
        """`fail` is told once the run cannot go on, and why."""
        self._fail = fail
        self._outgoing: list[bytes] = []
        self._transport: asyncio.WriteTransport | None = None
        self._is_closing = False

    async def open(self, host: str, port: int) -> None:
        """Connect.

        Raises:
            LoadError: the server is not there.
        """
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: self, host, port)
        except OSError as error:
            raise LoadError(f"cannot connect: {type(error).__name__}") from None

    def queue(self, request: bytes) -> None:
        """It goes out with the next flush."""
        self._outgoing.append(request)

    def flush(self) -> None:
        """Write what is queued."""
        if self._outgoing and self._transport is not None:
            self._transport.write(b"".join(self._outgoing))
            self._outgoing.clear()

    def close(self) -> None:
        """Drop the connection."""
        self._is_closing = True
        if self._transport is not None:
            self._transport.abort()

    # ── what asyncio calls ───────────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        # uvloop's are not subclasses of asyncio's, whatever their methods.
        self._transport = cast("asyncio.WriteTransport", transport)

    def connection_lost(self, error: Exception | None) -> None:
        """The run cannot go on."""
        self._lose("a connection was lost")

    def _lose(self, reason: str) -> None:
        if not self._is_closing:
            self._fail(reason)
