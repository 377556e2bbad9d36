"""A line to the relay, with nothing between the test and the bytes. Every wait has a deadline."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress
from typing import Final

import trio

from tests.wire.raw import RawFrameParts, Response

ANSWER_SECONDS: Final = 10.0
"""How long anything may take that should take no time at all."""


class Line:
    """A TCP connection, or one under TLS, and what has been read from it."""

    def __init__(self, stream: trio.abc.Stream, tcp: trio.SocketStream) -> None:
        self._stream = stream
        self._tcp = tcp
        self._received = b""
        self._has_ended = False

    # ── sending ──────────────────────────────────────────────────────────────────────────────

    async def send(self, *chunks: bytes) -> None:
        """Write bytes. That the relay has hung up meanwhile shows in what is read."""
        with trio.fail_after(ANSWER_SECONDS):
            with suppress(trio.BrokenResourceError):
                await self._stream.send_all(b"".join(chunks))

    async def half_close(self) -> None:
        """Say that nothing more will be sent, and go on reading."""
        with suppress(trio.BrokenResourceError):
            await self._tcp.send_eof()

    def reset(self) -> None:
        """End the connection as a crashed machine or an angry firewall does: with an RST."""
        self._tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._tcp.socket.close()

    async def aclose(self) -> None:
        """Close without ceremony."""
        await trio.aclose_forcefully(self._stream)

    # ── reading ──────────────────────────────────────────────────────────────────────────────

    async def response(self) -> Response:
        """The HTTP answer, its body as long as it says."""
        while b"\r\n\r\n" not in self._received:
            assert await self._read_more(), f"ended without an answer: {self._received!r}"
        head, _, _ = self._received.partition(b"\r\n\r\n")
        status_line, *lines = head.split(b"\r\n")
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(b":") for line in lines)
        }
        length = len(head) + 4 + int(headers.get(b"content-length", b"0"))
        assert await self._read_until(length), "the connection ended within the body"
        raw = self._take(length)
        return Response(int(status_line.split(b" ")[1]), headers, raw[len(head) + 4 :], raw)

    async def frame(self) -> RawFrameParts | None:
        """The next frame, which must not be masked; None at the end of the line."""
        if not await self._read_until(2):
            return None
        length = self._received[1]
        assert length < 128, "the relay masks nothing"
        extended = {126: 2, 127: 8}.get(length, 0)
        if not await self._read_until(2 + extended):
            return None
        if extended:
            length = int.from_bytes(self._received[2 : 2 + extended], "big")
        if not await self._read_until(2 + extended + length):
            return None
        taken = self._take(2 + extended + length)
        return RawFrameParts(taken[0], taken[2 + extended :])

    async def is_at_end(self) -> bool:
        """Whether the relay ends the line without another byte (this waits for it)."""
        return not self._received and not await self._read_more()

    async def rest(self) -> bytes:
        """Everything that comes until the relay ends the line."""
        while await self._read_more():
            pass
        return self._take(len(self._received))

    def _take(self, length: int) -> bytes:
        taken, self._received = self._received[:length], self._received[length:]
        return taken

    async def _read_until(self, length: int) -> bool:
        while len(self._received) < length:
            if not await self._read_more():
                return False
        return True

    async def _read_more(self) -> bool:
        if self._has_ended:
            return False
        with trio.fail_after(ANSWER_SECONDS):
            try:
                chunk = await self._stream.receive_some(65_536)
            except trio.BrokenResourceError:
                chunk = b""
        self._has_ended = not chunk
        self._received += chunk
        return bool(chunk)
