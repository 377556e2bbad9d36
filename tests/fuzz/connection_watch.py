"""What one connection has said and heard, and what must be true of it at any moment.

Everything is checked against what the log holds and what was said; nothing is taken from the
connection itself.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from msgspec import UNSET

from ksmp.codec import decode_recorded
from ksmp.errors import REGISTRY
from ksmp.events import (
    About,
    AckRead,
    Auth,
    AuthOk,
    ClientEvent,
    Connected,
    Error,
    InboxFrame,
    Ping,
    Pong,
    Read,
    Resume,
    ResumeComplete,
    Send,
    SendAck,
    ServerEvent,
)
from ksmp.types import ConversationId, conversation_key
from storage.log import InboxRow
from tests.actors.memory_log import MemoryLog
from tests.actors.peers import Peer
from tests.fuzz.codec_model import judge
from tests.fuzz.connection_script import DEVICES
from tests.fuzz.promise import promise, reached

EPOCH: Final = "epoch-1"
NOTICES: Final = ("draining", "replaced", "token_expired", "replay_truncated", "internal")
CLOSE_CODES: Final = {
    1000: (),
    1001: ("draining",),
    1007: (),
    1011: ("internal",),
    4400: ("malformed", "unknown_event"),
    4401: ("token_expired", "unauthenticated"),
    4408: (),
    4409: ("replaced",),
    4410: (),
    4429: None,
}
"""Close codes, and the errors that one of must come last before it; None: whatever it was."""

Question = tuple[object, ...]
"""What an answer must have in common with what it answers."""

BAD: Final[Question] = ("bad",)


def question_of(said: ClientEvent | bytes, *, is_text: bool) -> Question:
    """How the answer to this will be known."""
    match said:
        case Send(envelope=one):
            ids = (one.conversation_id, one.recipient_user_id, one.message_id)
            return ("ksmpv3.send", *ids, one.idempotency_key)
        case AckRead():
            return ("ksmpv3.ack.read", said.conversation_id)
        case Resume():
            return ("ksmpv3.resume",)
        case Ping(nonce):
            return ("ksmpv3.ping", nonce)
        case Auth():
            return ("ksmpv3.auth",)
        case _:
            verdict, _ = judge(said, is_text=is_text)
            promise(not isinstance(verdict, dict), "raw bytes in a play are no whole event")
            return BAD


def _question_about(about: About) -> Question:
    match about.type:
        case "ksmpv3.send":
            ids = (about.conversation_id, about.recipient_user_id, about.message_id)
            return (about.type, *ids, about.idempotency_key)
        case "ksmpv3.ack.read":
            return (about.type, about.conversation_id)
        case _:
            return (about.type,)


class Watch:
    """One connection: tell it what was said, have it look at what was heard."""

    def __init__(self, device: int, peer: Peer, log: MemoryLog, knew: int) -> None:
        """`knew` is the head of the inbox at the time."""
        self.user, self.device = DEVICES[device]
        self.peer = peer
        self.is_left = False
        self.asked: Counter[Question] = Counter()
        self.answered: Counter[Question] = Counter()
        self._told: Counter[Question] = Counter()  # reads, of which some may be no answers
        self.resumes: list[Resume] = []  # those that have not been answered
        self.sent: list[Send] = []
        self.acks: list[SendAck] = []
        self.errors: list[str] = []
        self._log = log
        self._knew = knew
        self._looked_at = 0
        self._cursor: int | None = None  # of the client, once a resume was good
        self._is_complete = False

    def said(self, *events: ClientEvent | bytes) -> None:
        """These are on their way to the relay."""
        for event in events:
            self.asked[question_of(event, is_text=self.peer.codec.is_text)] += 1
            match event:
                case Resume():
                    self.resumes.append(event)
                case Send():
                    self.sent.append(event)

    def stall(self, is_stalled: bool) -> None:
        """The client stops reading, or goes on; asked twice it is the same."""
        transport = self.peer.transport
        if is_stalled and transport.is_writable:
            transport.stall()
        elif not is_stalled:
            transport.go_on()

    @property
    def unanswered(self) -> Counter[Question]:
        """What was asked and has not been answered."""
        return self.asked - self.answered - self._told

    def look(self) -> None:
        """Check everything that was heard since the last look."""
        sent = self.peer.transport.sent
        for raw in sent[self._looked_at :]:
            event = self.peer.codec.decode_server_event(raw)
            promise(event is not None, "an event that no client knows")
            assert event is not None
            promise(self.peer.codec.encode(event) == raw, ("not canonical", raw))
            promise(isinstance(event, Connected) == (self._looked_at == 0), event)
            self._looked_at += 1
            self._hear(event, raw)
        overdrawn = self.answered - self.asked
        promise(not overdrawn, ("answers that nobody asked for", overdrawn))
        self._look_at_the_end()

    def _hear(self, event: ServerEvent, raw: bytes) -> None:
        match event:
            case Connected():
                told = (event.user_id, event.device_id, event.epoch, event.head_global_inbox_seq)
                promise(told == (self.user, self.device, EPOCH, self._knew), event)
            case InboxFrame():
                self._hear_frame(event, raw)
            case ResumeComplete():
                self._hear_complete(event)
            case SendAck():
                self._hear_ack(event)
            case Read():
                self._hear_read(event)
            case Pong(nonce):
                self._answer(("ksmpv3.ping", nonce))
            case AuthOk():
                self._answer(("ksmpv3.auth",))
            case Error():
                self._hear_error(event)
        reached(type(event).__name__)

    def _answer(self, question: Question) -> None:
        self.answered[question] += 1

    # ── the inbox ────────────────────────────────────────────────────────────────────────────

    def _rows(self) -> list[InboxRow]:
        return self._log.rows(self.user)

    def _begin(self) -> None:
        """The first of the unanswered resumes was good."""
        if self._cursor is None:
            promise(bool(self.resumes), "the inbox is sent to who has not asked for it")
            resume = self.resumes.pop(0)
            self._answer(("ksmpv3.resume",))
            head, cursor = self._log.inbox_head(self.user), resume.last_global_inbox_seq
            is_known = cursor is None or resume.epoch is UNSET or resume.epoch == EPOCH
            promise(is_known and (cursor is None or cursor <= head), ("a bad resume", resume))
            self._cursor = -1 if cursor is None else cursor

    def _hear_frame(self, frame: InboxFrame, raw: bytes) -> None:
        self._begin()
        assert self._cursor is not None
        promise(self._cursor >= 0, "a frame before the base cursor was told")
        following = [row for row in self._rows() if row.global_inbox_seq > self._cursor]
        promise(bool(following), ("a frame of nothing", frame))
        promise(raw == self.peer.codec.encode_inbox_frame(*following[0]), (frame, following[0]))
        self._cursor = frame.global_inbox_seq

    def _hear_complete(self, complete: ResumeComplete) -> None:
        self._begin()
        assert self._cursor is not None
        promise(not self._is_complete, "a second resume.complete")
        self._is_complete = True
        head = complete.global_inbox_seq
        promise(self._cursor <= head <= self._log.inbox_head(self.user), complete)
        if self._cursor >= 0:
            between = [row for row in self._rows() if self._cursor < row.global_inbox_seq <= head]
            promise(not between, ("complete, but for", between))
        else:
            self._cursor = head

    def _hear_truncated(self, notice: Error) -> None:
        self._begin()
        through = self._log.truncated.get(self.user, 0)
        promise(isinstance(notice.truncated_through, int), notice)
        assert isinstance(notice.truncated_through, int)
        assert self._cursor is not None
        promise(self._cursor < notice.truncated_through <= through, notice)
        self._cursor = notice.truncated_through

    # ── answers ──────────────────────────────────────────────────────────────────────────────

    def _hear_ack(self, ack: SendAck) -> None:
        self.acks.append(ack)
        ids = (ack.conversation_id, ack.recipient_user_id, ack.message_id, ack.idempotency_key)
        self._answer(("ksmpv3.send", *ids))
        key = conversation_key(ack.conversation_id, self.user, ack.recipient_user_id)
        records = self._log.records.get(key, [])
        promise(0 < ack.server_seq <= len(records), ("an ack of nothing", ack))
        record = records[ack.server_seq - 1]
        promise(ack.chain == record.chain, ack)
        promise(ack.server_received_at_ms == record.server_received_at_ms, ack)
        stored = decode_recorded(record.recorded)
        offered = [one.envelope for one in self.sent]
        promise(
            any(
                all(getattr(stored, name) == getattr(one, name) for name in one.__struct_fields__)
                for one in offered
            ),
            ("acknowledged is not what was sent", ack),
        )

    def _hear_read(self, read: Read) -> None:
        promise(self.user in (read.reader_user_id, read.peer_user_id), read)
        asked = ("ksmpv3.ack.read", read.conversation_id)
        if read.reader_user_id == self.user and self.asked[asked]:
            self._told[asked] += 1
        else:
            promise(bool(self.resumes) or self._cursor is not None, "news before a resume")
        key = conversation_key(
            ConversationId(read.conversation_id), read.reader_user_id, read.peer_user_id
        )
        promise(read.server_seq <= len(self._log.records.get(key, [])), read)
        mark = self._log.marks.get((key, read.reader_user_id))
        best = mark and (mark.own if read.reader_user_id == self.user else mark.public)
        promise(best is not None and read.server_seq <= best.server_seq, (read, best))

    def _hear_error(self, error: Error) -> None:
        reached(f"error {error.code}")
        self.errors.append(error.code)
        promise(error.code in REGISTRY, error)
        known = REGISTRY[error.code]
        said = (error.message, error.retryable, error.action)
        promise(said == (known.message, known.retryable, known.action), error)
        promise((error.retry_after_ms is UNSET) != known.retryable, error)
        if error.code == "replay_truncated":
            self._hear_truncated(error)
        elif error.code in NOTICES:
            promise(error.about is UNSET, error)
        elif error.code in ("malformed", "unknown_event"):
            self._answer(BAD)
        else:
            assert isinstance(error.about, About)
            self._answer(_question_about(error.about))
            if error.about.type == "ksmpv3.resume":
                self._hear_resume_refused(error)

    def _hear_resume_refused(self, error: Error) -> None:
        if error.code == "already_resumed":
            if self._cursor is None:
                self._begin()
            promise(bool(self.resumes), error)
            self.resumes.pop(0)
            return
        promise(self._cursor is None and bool(self.resumes), error)
        refused, head = self.resumes.pop(0), self._log.inbox_head(self.user)
        told, cursor = error.head_global_inbox_seq, refused.last_global_inbox_seq
        promise(isinstance(told, int) and told <= head and cursor is not None, error)
        assert isinstance(told, int)
        assert cursor is not None
        if error.code == "epoch_changed":
            promise(refused.epoch not in (UNSET, EPOCH) and error.epoch == EPOCH, error)
        else:
            promise(error.code == "cursor_ahead" and cursor > told, error)

    # ── its end ──────────────────────────────────────────────────────────────────────────────

    def _look_at_the_end(self) -> None:
        code = self.peer.transport.close_code
        if code is None:
            return
        reached(f"close {code}")
        promise(code in CLOSE_CODES, code)
        last = CLOSE_CODES[code]
        if last and not self.peer.transport.queued:
            promise(any(one in last for one in self.errors), (code, self.errors))

    def is_up_to_date(self) -> bool:
        """Whether a client that has resumed has everything there is."""
        rows = self._rows()
        head = rows[-1].global_inbox_seq if rows else 0
        return self._cursor is None or max(self._cursor, 0) >= head
