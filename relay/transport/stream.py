"""A stream of bytes, with what a WebSocket needs beyond Trio's: sending without waiting.

    ByteStream
     ├── TcpStream      a non-blocking socket, used directly: one system call per `send_nowait`
     └── WrappedStream  any `trio.abc.Stream`: TLS, or memory in tests and simulations

Both raise what Trio's streams raise: `BrokenResourceError` when the line is broken,
`ClosedResourceError` when this side has closed it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Final, Protocol

import trio
from trio.socket import IPPROTO_TCP, SHUT_WR, TCP_NODELAY

from relay.transport.arrivals import Arrivals

RECEIVE_BYTES: Final = 65_536

LINGER_SECONDS: Final = 1.0
"""How long a peer may take to show that what was sent last has arrived, by ending its own side."""

Bytes = bytes | bytearray | memoryview

BROKEN: Final = (trio.BrokenResourceError, trio.ClosedResourceError)
"""What a stream raises that can no longer be used."""


class NonBlockingSocket(Protocol):
    """What is used of a connected `socket.socket` in non-blocking mode."""

    def fileno(self) -> int:
        """The descriptor, for the event loop to wait on."""

    def recv(self, max_bytes: int, /) -> bytes:
        """What has arrived, or `BlockingIOError`."""

    def send(self, piece: Bytes, /) -> int:
        """How much the operating system took, or `BlockingIOError`."""

    def setsockopt(self, level: int, option: int, value: int, /) -> None:
        """Set one option."""

    def shutdown(self, how: int, /) -> None:
        """End one direction."""

    def close(self) -> None:
        """Release the descriptor."""


Take = Callable[[bytes | bytearray], bool]
"""Takes what has arrived; whether it may be given more."""


class ByteStream(Protocol):
    """Bytes in both directions. One task receives, one at a time sends; `abort` may interrupt."""

    @property
    def can_half_close(self) -> bool:
        """Whether `send_eof` tells the peer that nothing more will come."""

    async def receive_some(self, max_bytes: int = RECEIVE_BYTES) -> bytes | bytearray:
        """The next bytes; empty when the peer has finished."""

    async def hand_over(self, take: Take) -> bytes | bytearray | None:
        """Give what arrives to `take`, in the turn in which it is found, while it returns True.

        None once it has returned False. Whatever else there is, is returned as by `receive_some`:
        a stream need not hand over anything.
        """

    def send_nowait(self, piece: Bytes) -> int:
        """How many bytes of the front of `piece` were taken at once; perhaps none."""

    async def send_some(self, piece: Bytes) -> int:
        """How many bytes of the front of `piece` were taken, at least one."""

    async def send_eof(self) -> None:
        """Say that nothing more will be sent."""

    def abort(self) -> None:
        """Close now; whoever waits gets `ClosedResourceError`. Closing again changes nothing."""

    async def aclose(self) -> None:
        """Close, with what courtesy the stream has, and release what it holds."""


class TcpStream(trio.abc.HalfCloseableStream):
    """A TCP connection that never blocks the event loop and loses no byte to a cancellation.

    `send_some`, cancelled, has sent nothing: the caller always knows where it stands. `send_all`,
    there so that TLS can stand on this stream, does not keep that promise.
    """

    can_half_close: Final = True

    def __init__(self, connected: NonBlockingSocket, arrivals: Arrivals | None = None) -> None:
        """Without `arrivals` each wait for something to read is one of Trio's own."""
        self._socket = connected
        self._is_closed = False
        self._signal = None if arrivals is None else arrivals.watch(connected.fileno())
        with suppress(OSError):  # where the peer is gone already, reading will say so
            # A frame is one write: waiting to fill a segment would only delay it.
            connected.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)

    async def receive_some(self, max_bytes: int | None = RECEIVE_BYTES) -> bytes:
        """See `ByteStream`."""
        # Asking first would mostly be told no, by a system call and an exception.
        while True:
            self._require_open()
            if self._signal is None:
                await trio.lowlevel.wait_readable(self._socket)
            else:
                await self._signal.wait()
            with suppress(BlockingIOError):
                return self._receive(max_bytes or RECEIVE_BYTES)

    async def hand_over(self, take: Take) -> bytes | None:
        """See `ByteStream`."""
        if self._signal is None:
            return await self.receive_some()
        self._require_open()
        is_refused = False

        def take_what_has_arrived() -> bool:
            nonlocal is_refused
            if chunk := self._receive(RECEIVE_BYTES):
                is_refused = not take(chunk)
            return bool(chunk) and not is_refused

        await self._signal.wait(take_what_has_arrived)
        return None if is_refused else await self.receive_some()

    def _receive(self, max_bytes: int) -> bytes:
        """What has arrived, or `BlockingIOError`; and where that was all, note it."""
        self._require_open()
        try:
            chunk = self._socket.recv(max_bytes)
        except BlockingIOError:
            self._note_drained()
            raise
        except OSError as error:
            raise trio.BrokenResourceError from error
        if len(chunk) < max_bytes:
            self._note_drained()
        return chunk

    def _note_drained(self) -> None:
        if self._signal is not None:
            self._signal.drained()

    def send_nowait(self, piece: Bytes) -> int:
        """See `ByteStream`."""
        self._require_open()
        try:
            return self._socket.send(piece)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise trio.BrokenResourceError from error

    async def send_some(self, piece: Bytes) -> int:
        """See `ByteStream`."""
        await trio.lowlevel.checkpoint()
        while not (taken := self.send_nowait(piece)):
            await trio.lowlevel.wait_writable(self._socket)
        return taken

    async def send_all(self, data: Bytes) -> None:
        """Send the whole of `data`."""
        rest = memoryview(data)
        while rest:
            rest = rest[await self.send_some(rest) :]

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the operating system would take something."""
        self._require_open()
        await trio.lowlevel.wait_writable(self._socket)

    async def send_eof(self) -> None:
        """See `ByteStream`."""
        await trio.lowlevel.checkpoint()
        self._require_open()
        try:
            self._socket.shutdown(SHUT_WR)
        except OSError as error:
            raise trio.BrokenResourceError from error

    def abort(self) -> None:
        """See `ByteStream`."""
        if not self._is_closed:
            self._is_closed = True
            if self._signal is not None:
                self._signal.close()
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()

    async def aclose(self) -> None:
        """See `ByteStream`."""
        self.abort()
        await trio.lowlevel.checkpoint()

    def _require_open(self) -> None:
        if self._is_closed:
            raise trio.ClosedResourceError


class WrappedStream:
    """Any Trio stream as a `ByteStream`: nothing is sent at once, everything by `send_some`.

    A cancelled send leaves unknown how much went out, so from then on the stream is broken.
    """

    can_half_close: Final = False

    def __init__(self, stream: trio.abc.Stream, abort: Callable[[], None]) -> None:
        """`abort` closes what is under `stream` at once; it may be called again."""
        self._stream = stream
        self._abort = abort
        self._is_broken = False

    async def receive_some(self, max_bytes: int = RECEIVE_BYTES) -> bytes | bytearray:
        """See `ByteStream`."""
        return await self._stream.receive_some(max_bytes)

    async def hand_over(self, take: Take) -> bytes | bytearray:
        """See `ByteStream`. Everything is left to whoever waits."""
        return await self.receive_some()

    def send_nowait(self, piece: Bytes) -> int:
        """See `ByteStream`."""
        return 0

    async def send_some(self, piece: Bytes) -> int:
        """See `ByteStream`."""
        if self._is_broken:
            raise trio.BrokenResourceError
        self._is_broken = True
        await self._stream.send_all(piece)
        self._is_broken = False
        return len(piece)

    async def send_eof(self) -> None:
        """See `ByteStream`."""
        await trio.lowlevel.checkpoint()

    def abort(self) -> None:
        """See `ByteStream`."""
        self._is_broken = True
        self._abort()

    async def aclose(self) -> None:
        """See `ByteStream`."""
        try:
            await self._stream.aclose()
        except trio.BrokenResourceError:
            pass  # it is closed all the same
        finally:
            self.abort()


async def close_gently(stream: ByteStream) -> None:
    """Close so that what was sent arrives: end our direction, read on until the peer ends its own.

    Closing with unread bytes would reset the connection, and a reset discards what the peer has
    not read yet. After `LINGER_SECONDS` it is closed whatever the peer does.
    """
    try:
        with trio.move_on_after(LINGER_SECONDS):
            await stream.send_eof()
            while await stream.receive_some():
                pass
            await stream.aclose()
    except BROKEN:
        pass
    finally:
        stream.abort()
