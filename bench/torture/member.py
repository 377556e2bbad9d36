"""A person who also says how far they have read, and asks again what is answered already."""

from __future__ import annotations

from collections import Counter, deque
from time import time_ns
from typing import Final

from msgspec import UNSET

from bench.open_loop.person import Person, Shared, Unacked
from bench.seen import note_position
from ksmp.codec import MSGPACK
from ksmp.events import AckRead, Error, InboxFrame, Read, SendAck
from ksmp.types import ConversationId, ServerSeq, UserId

REMEMBERED: Final = 2
"""Acked sends that are offered again on the next line: the same answer must come."""

READ_EVERY: Final = 3
"""Frames of the peer's, after which the last is said to have been read."""

PRIVATE_EVERY: Final = 5
"""So many times, one is said privately."""

FORGOTTEN_SHARE: Final = 0.05
"""Of the sends that were left without an answer."""

ENOUGH_WAITING: Final = 200
"""Messages that wait for an answer, past which this person writes no more."""


class Member(Person):
    """One of the clients of a tortured relay."""

    def __init__(
        self,
        shared: Shared,
        *,
        token: str,
        user: UserId,
        peer: UserId,
        conversation_id: ConversationId,
    ) -> None:
        super().__init__(
            shared,
            token=token,
            user=user,
            peer=peer,
            conversation_id=conversation_id,
            receive_bytes=None,
        )
        self.acked = 0
        """Messages, however often each was."""
        self.clock_off_ms: int | None = None
        """By how much the relay's clock is off, as the last ack says."""
        self.refusals: Counter[str] = Counter()
        self._again: set[str] = set()
        self._remembered: deque[Unacked] = deque(maxlen=REMEMBERED)
        self._reads: deque[tuple[int, ServerSeq]] = deque()
        self._frames_of_peer = self._reads_said = 0

    @property
    def has_enough_waiting(self) -> bool:
        """Whether more would only wait, too."""
        return len(self._unacked) + len(self._due) >= ENOUGH_WAITING

    @property
    def heard(self) -> int:
        """The number of the last frame that has come."""
        return self._cursor or 0

    def come_back(self) -> None:
        """Drop the line, and come back on another."""
        if self._line is not None and self.ready.is_set():
            self._line.drop()
            self.take_end()

    # ── what the line says ───────────────────────────────────────────────────────────────────

    def take_ack(self, ack: SendAck, raw: bytes) -> None:
        """See `line.Owner`."""
        unacked = self._unacked.get(ack.idempotency_key)
        super().take_ack(ack, raw)
        if ack.idempotency_key in self._again:
            self._again.discard(ack.idempotency_key)
        elif unacked is not None:
            self.acked += 1
            self.clock_off_ms = ack.server_received_at_ms - time_ns() // 1_000_000
            self._remembered.append(unacked)

    def take_frame(self, frame: InboxFrame) -> None:
        """See `line.Owner`."""
        super().take_frame(frame)
        if frame.envelope.sender_user_id == self.peer:
            self._frames_of_peer += 1
            if self._frames_of_peer % READ_EVERY == 0 and self._can_send:
                self._say_read(frame.envelope.server_seq)

    def take_position(self, read: Read) -> None:
        """See `line.Owner`. The relay answers in order; whatever else comes is news."""
        recorder = self._shared.recorder
        if read.reader_user_id == self.user and self._reads:
            number, asked = self._reads[0]
            if read.server_seq >= asked:
                self._reads.popleft()
                recorder.read_ok(number, read.server_seq)
                return
        note_position(recorder, self._connection, read)

    def take_error(self, error: Error) -> None:
        """See `line.Owner`."""
        super().take_error(error)
        self.refusals[error.code] += 1
        if self._reads and error.about is not UNSET and error.about.type == "ksmpv3.ack.read":
            self._reads.popleft()

    def take_resumed(self) -> None:
        """See `line.Owner`. First goes what was answered before, as it was in the beginning."""
        for acked in self._remembered:
            self._again.add(acked.key)
            acked.is_under_way, acked.not_before = False, 0.0
        self._unacked = {acked.key: acked for acked in self._remembered} | self._unacked
        super().take_resumed()

    def take_end(self) -> None:
        """See `line.Owner`."""
        self._reads.clear()
        super().take_end()
        self._forget_some()

    def _forget_some(self) -> None:
        """What was under way when the line was lost is offered again; a few never are."""
        for key in [key for key in self._unacked if key not in self._again]:
            if self._shared.chance.random() < FORGOTTEN_SHARE:
                self._shared.undelivered.discard(self._unacked.pop(key).message_id)

    def _say_read(self, seq: ServerSeq) -> None:
        line = self._line
        assert line is not None, "it has just brought a frame"
        self._reads_said += 1
        is_private = self._reads_said % PRIVATE_EVERY == 0
        private = True if is_private else UNSET
        number = self._shared.recorder.read(line.number, self.conversation, seq, private=is_private)
        self._reads.append((number, seq))
        line.write(MSGPACK.encode(AckRead(self.conversation_id, self.peer, seq, private)))
