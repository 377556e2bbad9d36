"""One connection of one person while it lasts: bytes become events, and events bytes."""

from __future__ import annotations

from time import monotonic_ns
from typing import Protocol

from picows import WSFrame, WSListener, WSMsgType, WSTransport

from bench.checker.records import Frame
from bench.history import Recorder
from bench.opening import open_websocket
from bench.seen import frame_of, note_connected
from bench.user import client_message, close_code
from ksmp.codec import MSGPACK
from ksmp.events import Connected, Error, InboxFrame, Read, Resume, ResumeComplete, SendAck
from ksmp.malformed import UndecodableError
from ksmp.types import GlobalInboxSeq


class Owner(Protocol):
    """Whose line it is."""

    def take_welcome(self, event: Connected) -> GlobalInboxSeq:
        """The first event has come; after which number to resume."""

    def take_frame(self, frame: InboxFrame) -> None:
        """A record."""

    def take_ack(self, ack: SendAck, raw: bytes) -> None:
        """A send is stored."""

    def take_error(self, error: Error) -> None:
        """Something is refused."""

    def take_position(self, read: Read) -> None:
        """How far somebody has read."""

    def take_resumed(self) -> None:
        """All that there was has come."""

    def take_end(self) -> None:
        """The line is gone, and not because it was dropped."""


class Line(WSListener):
    """Connects once, resumes, and records what comes. Everything else is its owner's business."""

    def __init__(self, owner: Owner, recorder: Recorder) -> None:
        self.number = -1
        """In the history, from the first event on."""
        self._owner = owner
        self._recorder = recorder
        self._opening_began_ns = monotonic_ns()
        self._transport: WSTransport | None = None
        self._seen: list[Frame] = []
        self._fragments: list[bytes] = []
        self._is_over = False

    async def open(self, url: str, token: str, receive_bytes: int | None) -> None:
        """Connect.

        Raises:
            LoadError: the relay is not there, or refuses.
        """
        self._transport = await open_websocket(self, url, token, receive_bytes=receive_bytes)

    def write(self, event: bytes) -> None:
        """Send one event."""
        if self._transport is not None and not self._is_over:
            self._transport.underlying_transport.write(client_message(event))

    def stop_reading(self) -> None:
        """Leave what comes where it is: in the system's buffers, then in the relay."""
        if self._transport is not None and not self._is_over:
            self._transport.underlying_transport.pause_reading()

    def read_again(self) -> None:
        """Take what has come meanwhile, and what comes."""
        if self._transport is not None and not self._is_over:
            self._transport.underlying_transport.resume_reading()

    def drop(self) -> None:
        """End it from this side, once."""
        if not self._is_over:
            self._end(None)
        if self._transport is not None:
            self._transport.disconnect(graceful=False)

    # ── what picows calls ────────────────────────────────────────────────────────────────────

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Take the transport: the relay's first event may come before `open` returns."""
        self._transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Act on one frame; the inbox frames that came in one read are one record."""
        if self._is_over:
            return
        kind = frame.msg_type
        if kind is WSMsgType.BINARY or kind is WSMsgType.CONTINUATION:
            self._fragments.append(frame.get_payload_as_bytes())
            if frame.fin:
                raw = b"".join(self._fragments)
                self._fragments.clear()
                self._take(raw)
        elif kind is WSMsgType.CLOSE:
            self._lose(close_code(frame))
        if frame.last_in_buffer:
            self._record_frames()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """The relay may also go without a word."""
        self._lose(None)

    # ── what arrives ─────────────────────────────────────────────────────────────────────────

    def _take(self, raw: bytes) -> None:
        try:
            event = MSGPACK.decode_server_event(raw)
        except UndecodableError:
            self._lose(None)
            return
        match event:
            case InboxFrame():
                self._seen.append(frame_of(self._recorder, event, raw))
                self._owner.take_frame(event)
            case SendAck():
                self._owner.take_ack(event, raw)
            case Error():
                self._owner.take_error(event)
            case Read():
                self._owner.take_position(event)
            case Connected():
                self.number = note_connected(self._recorder, event, self._opening_began_ns)
                cursor = self._owner.take_welcome(event)
                self._recorder.resume(self.number, cursor)
                self.write(MSGPACK.encode(Resume(cursor)))
            case ResumeComplete():
                self._record_frames()
                self._recorder.resumed(self.number, event.global_inbox_seq)
                self._owner.take_resumed()
            case _:
                pass

    def _record_frames(self) -> None:
        if self._seen:
            self._recorder.frames(self.number, tuple(self._seen))
            self._seen.clear()

    def _lose(self, code: int | None) -> None:
        if not self._is_over:
            self._end(code)
            self.drop()
            self._owner.take_end()

    def _end(self, code: int | None) -> None:
        self._is_over = True
        self._record_frames()
        if self.number >= 0:
            self._recorder.closed(self.number, code)
