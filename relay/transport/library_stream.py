"""The stream that trio-websocket is given in place of the socket.

    in    first the request, as we composed it; then whole frames that are within the limits, one
          at a time, and only while somebody waits for a message
    out   what the library sends is queued, never waited for; behind a close frame, nothing

So the library never sees a stranger's header, half a frame, a frame too many, or a frame behind a
close; it holds nothing that was not asked for; and none of its sends can be cut in half. It is told
of an end, whoever brings it about, as the end of the stream.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import trio
from websockets.frames import Close, Frame, Opcode

from actors.transport import PeerGoneError
from relay.transport.frame_watcher import FrameRefusedError, FrameWatcher, WatchedFrame
from relay.transport.stream import BROKEN, RECEIVE_BYTES, Bytes, ByteStream, close_gently
from relay.transport.write_queue import WriteQueue

NO_STATUS: Final = 1005

_PING: Final = Frame(Opcode.PING, b"").serialize(mask=False)
_OPCODE: Final = 0x0F


class LibraryStream(trio.abc.Stream):
    """One connection's bytes, as trio-websocket gets to see them."""

    __slots__ = (
        "_before_frame",
        "_frame",
        "_has_left",
        "_has_peer_closed",
        "_heard_at",
        "_is_accepted",
        "_out",
        "_reading",
        "_received",
        "_request",
        "_stream",
        "_wanted",
        "_watcher",
        "close_code",
        "is_open",
        "is_over",
    )

    def __init__(
        self,
        stream: ByteStream,
        out: WriteQueue,
        watcher: FrameWatcher,
        *,
        request: bytes,
        received: bytes,
        before_frame: Callable[[], Awaitable[None]],
    ) -> None:
        """`received` came behind the request. `before_frame` is awaited before each frame."""
        self._stream = stream
        self._out = out
        self._watcher = watcher
        self._request = request
        self._received = bytearray(received)
        self._frame: WatchedFrame | None = None  # the one at the front, once it has been judged
        self._before_frame = before_frame
        self._wanted = trio.Event()
        self._reading: trio.CancelScope | None = None  # while the socket is being read
        self._has_left: trio.Event | None = None  # set when the library reads no more
        self._heard_at = trio.current_time()
        self._is_accepted = False
        self._has_peer_closed = False
        self.is_open = True
        """No close frame has passed either way, and the peer's bytes have not ended."""
        self.is_over = False
        """The library has been told of the end, or has brought it about."""
        self.close_code: int | None = None
        """The code in the close frame that went out."""

    @property
    def last_heard(self) -> float:
        """When the last byte arrived; now, while it is us who do not read."""
        return trio.current_time() if self._reading is None else self._heard_at

    # ── what the library calls ───────────────────────────────────────────────────────────────

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """The request, then one frame at a time, whatever its size; empty at the end."""
        if self._request:
            await trio.lowlevel.checkpoint()
            request, self._request = self._request, b""
            return request
        frame = b""
        try:
            await self._wanted.wait()
            if self.is_open and not self.is_over:  # the library reads once more behind its close
                frame = await self._next_frame()
        except PeerGoneError:
            pass  # a line that is broken, or too slow for what it must be told, ends as well
        self.is_over = not frame
        return frame

    async def send_all(self, data: Bytes) -> None:
        """Queue the acceptance or one whole frame. Not a checkpoint: it is all or nothing."""
        if not self._is_accepted:
            self._is_accepted = True
            self._out.put(data)
            self._out.flush_control()
        elif self.is_open:
            self._out.put(data)
            opcode = data[0] & _OPCODE
            if opcode == Opcode.CLOSE:
                self.is_open = False
                self.close_code = int.from_bytes(data[2:4], "big") if len(data) > 2 else NO_STATUS
            if opcode in (Opcode.CLOSE, Opcode.PONG):
                self._out.flush_control()

    async def wait_send_all_might_not_block(self) -> None:
        """Return at once: `send_all` never blocks."""
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        """Note that the library has finished. The socket is ours to close."""
        self.is_over = True

    # ── what the transport calls ─────────────────────────────────────────────────────────────

    def want(self) -> None:
        """Let the library see frames until one of them completes a message."""
        self._wanted.set()

    def ping(self) -> None:
        """Queue a ping."""
        if self.is_open:
            self._out.put(_PING)

    def close(self, code: int) -> None:
        """Queue a close frame, the first of all, and end the library's stream."""
        if self.is_open:
            self.is_open = False
            self.close_code = code
            self._out.put(Frame(Opcode.CLOSE, Close(code, "").serialize()).serialize(mask=False))
        if self._reading is not None:
            self._reading.cancel()

    def forget(self) -> None:
        """Let go of what has arrived."""
        self._received = bytearray()

    async def await_close(self) -> None:
        """Read and discard until the peer has closed too, then close the socket."""
        if self._reading is not None:  # the library has been told, and is leaving
            self._has_left = trio.Event()
            await self._has_left.wait()
        if self._stream.can_half_close:
            await close_gently(self._stream)
            return
        try:
            while not self._has_peer_closed and await self._gather():
                pass
        except FrameRefusedError:
            pass
        await self._stream.aclose()

    # ── frames ───────────────────────────────────────────────────────────────────────────────

    async def _next_frame(self) -> bytes:
        """The next frame that may pass; empty when there will be none."""
        if self._out.owes_control:
            # Whoever writes the messages knows nothing of pongs, and this peer is not reading them.
            await self._out.drain()
        try:
            frame = await self._gather()
        except FrameRefusedError as refused:
            await self._before_frame()
            self.close(refused.code)
            self._out.flush_control()
            return b""
        await self._before_frame()
        return frame if self.is_open else b""

    async def _gather(self) -> bytes:
        """The next frame, once all of it has arrived; empty at the end of the stream.

        Raises:
            FrameRefusedError: it must not pass, however much of it has arrived.
            PeerGoneError: the line is broken.
        """
        while True:
            if self._frame is None:
                self._frame = self._watcher.judge(self._received, trio.current_time())
            frame = self._frame
            if frame is not None and len(self._received) >= frame.size:
                return self._take(frame)
            chunk = await self._read()
            if not chunk:
                return b""
            self._received += chunk

    def _take(self, frame: WatchedFrame) -> bytes:
        taken = bytes(self._received[: frame.size])
        del self._received[: frame.size]
        self._frame = None
        if frame.opcode is Opcode.CLOSE:
            self._has_peer_closed = True
        if frame.ends_message:
            self._wanted = trio.Event()
        return taken

    async def _read(self) -> bytes | bytearray:
        """The next bytes; empty when there will be none, or when `close` has put an end to it."""
        self._heard_at = trio.current_time()
        self._reading = trio.CancelScope()
        try:
            with self._reading:
                chunk = await self._stream.receive_some(RECEIVE_BYTES)
                self.is_open = self.is_open and bool(chunk)
                return chunk
        except BROKEN:
            self._out.lose()
            raise PeerGoneError from None
        finally:
            self._reading = None
            if self._has_left is not None:
                self._has_left.set()
        return b""
