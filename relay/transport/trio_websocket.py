"""The second WebSocket that a connection actor can speak through: the trio-websocket library.

    messages   wait here until the library makes frames of them, into the `WriteQueue`
    frames     reach the library through a `LibraryStream`, which judges them first
    the end    is ours: our close frames are our own, and so is the socket

The library's one task, its reader, parses, answers pings and the peer's close, and hands messages
over one by one. Pings and closes of ours do not go through it: its `ping` waits for the pong and
remembers those that never come, and its `aclose` waits for the peer without an end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Final

import trio
from trio_websocket import CloseReason, ConnectionClosed, WebSocketConnection, wrap_server_stream

from actors.transport import AtOnce, PeerGoneError, SlowPeerError, leave
from relay.transport.frame_watcher import FrameWatcher
from relay.transport.handshake import PATH, WEBSOCKET_VERSION, Upgrade
from relay.transport.library_stream import LibraryStream
from relay.transport.limits import TransportLimits
from relay.transport.stream import RECEIVE_BYTES, ByteStream
from relay.transport.write_queue import PIECE_BYTES, WriteQueue

OPENING_SECONDS: Final = 10.0
"""For what the library does at once, unless it is broken."""

UNSAID: Final = (1002, 1007)
"""What the library closes with in its own mind, without telling the peer."""


@asynccontextmanager
async def open_trio_websocket(
    stream: ByteStream, upgrade: Upgrade, rest: bytes, limits: TransportLimits
) -> AsyncIterator[TrioWebSocketTransport]:
    """See `relay.transport.opening.OpenTransport`."""
    watcher = FrameWatcher(**limits.of_frames(is_text=upgrade.codec.is_text))
    transport = TrioWebSocketTransport(
        stream,
        watcher,
        is_text=upgrade.codec.is_text,
        write_seconds=limits.write_seconds,
        request=request_of(upgrade),
        received=rest,
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(transport.speak, nursery, upgrade.subprotocol, limits.max_frame_bytes)
        try:
            yield transport
        finally:
            transport.abort()
            nursery.cancel_scope.cancel()


def request_of(upgrade: Upgrade) -> bytes:
    """The request for the library: of the client's own, only what the judge has let pass is in it.

    The key is base64, the subprotocol one of ours; there is no extension to accept.
    """
    lines = [
        f"GET {PATH} HTTP/1.1",
        "Host: relay",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {upgrade.key}",
        f"Sec-WebSocket-Version: {WEBSOCKET_VERSION}",
    ]
    if upgrade.subprotocol is not None:
        lines.append(f"Sec-WebSocket-Protocol: {upgrade.subprotocol}")
    return "\r\n".join((*lines, "", "")).encode("ascii")


def most_unfinished_bytes(max_frame_bytes: int) -> int:
    """What one connection can make this transport hold of what has arrived and is not taken.

    The library keeps the parts of a message as it will hand them over. Text that has a character
    beyond the basic plane takes four bytes for each of its characters, those of one byte too.
    Beside it there is one read, in a buffer that grows by an eighth at a time.
    """
    return 4 * max_frame_bytes + (max_frame_bytes + 2 * RECEIVE_BYTES) * 9 // 8


class TrioWebSocketTransport:
    """Implements `actors.transport.Transport` on any byte stream, while `speak` runs."""

    __slots__ = (
        "_close_code",
        "_feeding",
        "_is_text",
        "_library",
        "_opened",
        "_out",
        "_waiting",
        "_waiting_bytes",
        "_watcher",
        "_websocket",
    )

    def __init__(
        self,
        stream: ByteStream,
        watcher: FrameWatcher,
        *,
        is_text: bool,
        write_seconds: float,
        request: bytes,
        received: bytes = b"",
    ) -> None:
        """`request` is what the library accepts; `received` is read before the stream is.

        `open_trio_websocket` makes one and lets it speak. It takes the kind of message that the
        upgrade's codec has: an echo of both kinds, to try the framing with, has an address for
        each, and its limits are those that the front is given.
        """
        self._is_text = is_text
        self._watcher = watcher
        self._out = WriteQueue(stream, write_seconds)
        self._library = LibraryStream(
            stream,
            self._out,
            watcher,
            request=request,
            received=received,
            before_frame=self._feed,
        )
        self._waiting: deque[bytes | Callable[[], None]] = deque()  # a message, or something to do
        self._waiting_bytes = 0
        self._feeding = trio.Lock()
        self._opened = trio.Event()
        self._websocket: WebSocketConnection | None = None
        self._close_code: int | None = None

    async def speak(
        self, nursery: trio.Nursery, subprotocol: str | None, max_frame_bytes: int
    ) -> None:
        """Let the library read and accept the request. Its own task stays in `nursery`."""
        try:
            with trio.fail_after(OPENING_SECONDS):
                request = await wrap_server_stream(
                    nursery,
                    self._library,
                    message_queue_size=0,  # a message is handed over, or not read yet
                    max_message_size=max_frame_bytes,
                    receive_buffer_size=None,
                )
                self._websocket = await request.accept(subprotocol=subprotocol)
        finally:
            self._opened.set()

    @property
    def queued_bytes(self) -> int:
        """See `Transport`."""
        return self._waiting_bytes + PIECE_BYTES * len(self._waiting) + self._out.queued_bytes

    @property
    def last_heard(self) -> float:
        """See `Transport`."""
        return self._library.last_heard

    @property
    def close_code(self) -> int | None:
        """See `Transport`."""
        sent = self._library.close_code
        return self._close_code if sent is None else sent

    # ── receiving ────────────────────────────────────────────────────────────────────────────

    async def receive(self, at_once: AtOnce = leave) -> list[bytes | bytearray]:
        """See `Transport`. Messages come one by one, and all as results."""
        await self._opened.wait()
        if self._websocket is None or self._out.is_gone or not self._library.is_open:
            await trio.lowlevel.checkpoint()
            raise PeerGoneError
        self._library.want()
        try:
            message = await self._websocket.get_message()
        except ConnectionClosed as closed:
            self._say_what_the_library_did_not(closed.reason)
            raise (SlowPeerError if self._out.is_slow else PeerGoneError) from None
        return [message.encode() if isinstance(message, str) else message]

    def _say_what_the_library_did_not(self, reason: CloseReason | None) -> None:
        if reason is not None and reason.code in UNSAID and self._library.is_open:
            self._library.close(reason.code)
            self._out.flush_control()

    # ── sending ──────────────────────────────────────────────────────────────────────────────

    def send(self, message: bytes) -> None:
        """See `Transport`."""
        library = self._library
        if library.is_open and not library.is_over and self._close_code is None:
            self._waiting.append(message)
            self._waiting_bytes += len(message)

    def ping(self) -> None:
        """See `Transport`."""
        if self._close_code is None:
            self._in_turn(self._library.ping)

    def note_control(self) -> bool:
        """See `Transport`."""
        return self._watcher.controls.admits(trio.current_time())

    def close(self, code: int) -> None:
        """See `Transport`."""
        if self._library.is_open and self._close_code is None:
            self._close_code = code
            self._in_turn(partial(self._library.close, code))

    def flush(self) -> bool:
        """See `Transport`. What the library has not made frames of is left to `drain`."""
        if self._out.is_gone:
            self._give_up()
        return self._is_fed() and self._out.flush()

    async def drain(self) -> None:
        """See `Transport`."""
        while True:
            await self._feed()
            await self._out.drain()
            if not self._waiting:
                return

    def _in_turn(self, act: Callable[[], None]) -> None:
        """Act when all that has been sent so far is in the queue: at once, if it is."""
        if self._is_fed():
            act()
        else:
            self._waiting.append(act)

    def _is_fed(self) -> bool:
        return self._opened.is_set() and not self._waiting and not self._feeding.locked()

    async def _feed(self) -> None:
        """Make frames of all that waits. Nobody but the library is waited for, and it never waits.

        Shielded: a cancellation in the library would lose the message it has in hand.
        """
        with trio.CancelScope(shield=True):
            await self._opened.wait()
            async with self._feeding:
                while self._waiting:
                    waiting = self._waiting[0]
                    if not isinstance(waiting, bytes):
                        self._waiting.popleft()
                        waiting()
                        continue
                    await self._make_frame(waiting)
                    if self._waiting and self._waiting[0] is waiting:  # not given up meanwhile
                        self._waiting.popleft()
                        self._waiting_bytes -= len(waiting)

    async def _make_frame(self, message: bytes) -> None:
        if self._websocket is None:
            return
        with suppress(ConnectionClosed):  # like all that is sent after the end, it is dropped
            await self._websocket.send_message(message.decode() if self._is_text else message)

    # ── ending ───────────────────────────────────────────────────────────────────────────────

    def abort(self) -> None:
        """Release the socket at once; what is queued is dropped, and whoever waits is told."""
        self._out.lose()
        self._give_up()

    async def aclose(self) -> None:
        """See `Transport`. Cancelled, it sends what can be sent at once and releases the socket."""
        self.close(1000)
        await self._feed()
        self._out.flush()
        try:
            await self._out.finish(self._library.await_close)
        finally:
            self._give_up()

    def _give_up(self) -> None:
        self._waiting.clear()
        self._waiting_bytes = 0
        self._library.forget()
