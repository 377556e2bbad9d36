"""A client that comes, goes and comes back with its cursor, and records all that it sees.

It sends when it is told to. What happens besides is told to whoever listens, by two callbacks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic_ns, time_ns
from typing import Final

from msgspec import UNSET
from picows import WSFrame, WSListener, WSMsgType, WSTransport

from bench.checker.records import Frame
from bench.history import Recorder
from bench.opening import resumed_websocket
from bench.seen import frame_of, note_ack, note_connected, note_refusal
from bench.user import client_message, close_code, subject
from ksmp.codec import MSGPACK
from ksmp.events import (
    Connected,
    Envelope,
    Error,
    InboxFrame,
    Resume,
    ResumeComplete,
    Send,
    SendAck,
)
from ksmp.malformed import UndecodableError
from ksmp.types import (
    PROTOCOL,
    ConversationId,
    GlobalInboxSeq,
    IdempotencyKey,
    MessageId,
    TimeMs,
    UserId,
)

_NOBODY: Final[Callable[[str], None]] = lambda _message_id: None  # noqa: E731


class Visitor(WSListener):
    """One device of one user.

    `base` is the inbox's head when they first came, and `cursor` the last frame that they have.
    `on_ack` and `on_frame` are given message ids; `fail` is told why the run cannot go on.
    """

    def __init__(self, recorder: Recorder, token: str, fail: Callable[[str], None]) -> None:
        self.token = token
        self.user = subject(token)
        self.base = GlobalInboxSeq(0)
        self.cursor: GlobalInboxSeq | None = None
        self.on_ack = self.on_frame = _NOBODY
        self._recorder = recorder
        self._fail = fail
        self._connection = -1
        self._transport: WSTransport | None = None
        self._opening_began_ns = 0
        self._attempts: dict[str, int] = {}
        self._frames: list[Frame] = []
        self._fragments: list[bytes] = []
        self._outgoing: list[bytes] = []
        self._resumed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def come(self, url: str) -> None:
        """Connect, and resume from the cursor; the first time from now on. Returns when caught up.

        Raises:
            LoadError: the relay is not there, refuses, or does not answer.
        """
        self._opening_began_ns = monotonic_ns()
        self._resumed = asyncio.get_running_loop().create_future()
        self._fragments.clear()
        await resumed_websocket(self, url, self.token, self._resumed)

    def drop(self) -> None:
        """Be gone, without a word to the relay. What comes after that is not seen."""
        transport, self._transport = self._transport, None
        self._resumed.cancel()
        if transport is None:
            return
        self._note_frames()
        if self._connection >= 0:
            self._recorder.closed(self._connection, None)
            self._connection = -1
        transport.disconnect(graceful=False)

    def send(
        self,
        conversation_id: ConversationId,
        peer: UserId,
        message_id: str,
        ciphertext: bytes,
        *,
        late_ns: int = 0,
        is_new: bool = True,
    ) -> None:
        """Offer a message; it goes out with the next `flush`. It is `late_ns` behind its time."""
        recorder = self._recorder
        created_ms = time_ns() // 1_000_000
        self._attempts[message_id] = recorder.send(
            self._connection,
            recorder.conversation(conversation_id, self.user, peer, is_new=is_new),
            recorder.content(ciphertext),
            created_ms=created_ms,
            message_id=message_id,
            late_ns=late_ns,
        )
        envelope = Envelope(
            PROTOCOL,
            conversation_id,
            MessageId(message_id),
            self.user,
            peer,
            ciphertext,
            "text",
            TimeMs(created_ms),
            IdempotencyKey(message_id),
        )
        self._outgoing.append(client_message(MSGPACK.encode(Send(envelope))))

    def flush(self) -> None:
        """Write what was offered, in one system call."""
        if self._outgoing and self._transport is not None:
            self._transport.underlying_transport.write(b"".join(self._outgoing))
            self._outgoing.clear()

    # ── what picows calls ────────────────────────────────────────────────────────────────────

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Take the transport: the relay's first event may come before `come` has it."""
        self._transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Act on a frame; what was seen is recorded, and what is offered written, per read."""
        if transport is not self._transport:
            return  # of a connection that was dropped
        if frame.msg_type is WSMsgType.CLOSE:
            self._fail(f"the relay closed with {close_code(frame)}")
        elif frame.msg_type in (WSMsgType.BINARY, WSMsgType.CONTINUATION):
            self._fragments.append(frame.get_payload_as_bytes())
            if frame.fin:
                raw = b"".join(self._fragments)
                self._fragments.clear()
                self._take(raw)
        if frame.last_in_buffer:
            self._note_frames()
            self.flush()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """Unless it was dropped here, the run has failed."""
        if transport is self._transport:
            self._fail("a connection was lost")

    # ── what arrives ─────────────────────────────────────────────────────────────────────────

    def _take(self, raw: bytes) -> None:
        try:
            event = MSGPACK.decode_server_event(raw)
        except UndecodableError:
            self._fail("the relay sent what is not an event")
            return
        match event:
            case InboxFrame():
                self._frames.append(frame_of(self._recorder, event, raw))
                self.cursor = event.global_inbox_seq
                self.on_frame(event.envelope.message_id)
            case SendAck():
                attempt = self._attempts.pop(event.idempotency_key, None)
                if attempt is not None:
                    note_ack(self._recorder, attempt, event, raw)
                    self.on_ack(event.message_id)
            case Connected():
                self._take_welcome(event)
            case ResumeComplete():
                self._note_frames()
                self._recorder.resumed(self._connection, event.global_inbox_seq)
                if not self._resumed.done():
                    self._resumed.set_result(None)
            case Error():
                about = UNSET if event.about is UNSET else event.about.idempotency_key
                attempt = None if about is UNSET else self._attempts.pop(about, None)
                note_refusal(self._recorder, self._connection, attempt, event)
                self._fail(f"the relay refused: {event.code}")
            case _:
                pass

    def _take_welcome(self, event: Connected) -> None:
        self._connection = note_connected(self._recorder, event, self._opening_began_ns)
        cursor = self.cursor
        if cursor is None:  # the first time
            self.base = self.cursor = event.head_global_inbox_seq
        self._recorder.resume(self._connection, cursor)
        self._outgoing.append(client_message(MSGPACK.encode(Resume(cursor))))
        self.flush()

    def _note_frames(self) -> None:
        if self._frames:
            self._recorder.frames(self._connection, tuple(self._frames))
            self._frames.clear()
