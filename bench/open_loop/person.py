"""One side of a conversation: sends when it is meant to, whatever the relay does with it.

A send that is due while there is no line waits here, and the history knows how long. One that is
refused with a hint is offered again after it, one whose line was lost on the next line; always the
same envelope. So nothing is left out of the measurement because the relay was slow.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from time import monotonic_ns, time_ns
from typing import Final, Literal, NamedTuple

from msgspec import UNSET

from bench.history import Recorder
from bench.open_loop.line import Line
from bench.opening import HANDSHAKE_SECONDS
from bench.process import LoadError
from bench.seen import note_ack, note_refusal
from ksmp.codec import MSGPACK
from ksmp.events import Connected, Envelope, Error, InboxFrame, Read, Send, SendAck
from ksmp.types import (
    PROTOCOL,
    ConversationId,
    GlobalInboxSeq,
    IdempotencyKey,
    MessageId,
    TimeMs,
    UserId,
)

POISON: Final = "poison-"
"""How the idempotency keys of poison begin."""

BACKOFF_SECONDS: Final = 0.05
BACKOFF_MAX_SECONDS: Final = 2.0

SMALL_RECEIVE_BYTES: Final = 4_096
"""What the system keeps for a reader who is going to be stuck."""

Bulk = Literal["message", "filler"]


class Contents:
    """The ciphertexts that everybody sends, and their numbers in the history."""

    def __init__(self, recorder: Recorder, message: bytes, filler: bytes) -> None:
        self.ciphertexts: Mapping[Bulk, bytes] = {"message": message, "filler": filler}
        self.numbers = {bulk: recorder.content(text) for bulk, text in self.ciphertexts.items()}


class Shared(NamedTuple):
    """What all persons of one load have in common."""

    url: str
    recorder: Recorder
    contents: Contents
    chance: random.Random
    undelivered: set[str]
    """The ids of messages that have not come to the other side."""


class _Due(NamedTuple):
    """A message that is meant to be sent."""

    meant_ns: int
    bulk: Bulk
    is_poison: bool


class Unacked:
    """A message that was offered."""

    __slots__ = ("attempt", "event", "is_under_way", "key", "message_id", "not_before")

    def __init__(self, message_id: str, key: str, event: bytes, attempt: int) -> None:
        self.message_id = message_id
        self.key = key
        self.event = event
        self.attempt = attempt
        self.is_under_way = True
        self.not_before = 0.0


class Person:
    """A user with one device, who writes to one peer. Reconnects until `leave`."""

    def __init__(
        self,
        shared: Shared,
        *,
        token: str,
        user: UserId,
        peer: UserId,
        conversation_id: ConversationId,
        receive_bytes: int | None,
        run_id: str = "",
    ) -> None:
        """`run_id` tells its messages from those of an earlier load on the same store."""
        self.token = token
        self.user = user
        self.peer = peer
        self.conversation_id = conversation_id
        self.conversation = -1
        """In the history; set before the first send."""
        self._connection = -1
        """In the history, the last that there was."""
        self.ready = asyncio.Event()
        """Set while there is a line that has resumed."""
        self._shared = shared
        self._receive_bytes = receive_bytes
        self._message_prefix = f"{user}.{run_id}." if run_id else f"{user}."
        self._loop = asyncio.get_running_loop()
        self._line: Line | None = None
        self._cursor: GlobalInboxSeq | None = None
        self.base = GlobalInboxSeq(0)
        """Where the inbox ended at the first connection: what is before it is not of this load."""
        self._sent = 0
        self._due: list[_Due] = []
        self._unacked: dict[str, Unacked] = {}
        self._resumed: asyncio.Future[None] = self._loop.create_future()
        self._is_stuck = self._has_left = False
        self._reopening: asyncio.Task[None] | None = None

    @property
    def is_settled(self) -> bool:
        """Whether everything that was due is acked, or refused for good."""
        return not self._unacked and not self._due

    async def come(self) -> None:
        """Connect for the first time.

        Raises:
            LoadError: the relay is not there, or refuses.
        """
        await self._open()

    def send(self, meant_ns: int, *, bulk: Bulk = "message", is_poison: bool = False) -> None:
        """A message is due: it goes out now, or as soon as it can."""
        due = _Due(meant_ns, bulk, is_poison)
        if self._line is not None and self._can_send:
            self._offer(self._line, due)
        else:
            self._due.append(due)

    def stop_reading(self) -> None:
        """From now on this person's device does nothing: it reads nothing, and sends nothing."""
        self._is_stuck = True
        if self._line is not None:
            self._line.stop_reading()

    def read_again(self) -> None:
        """The device has come back to life; it finds out by itself whether its line has."""
        self._is_stuck = False
        if self._line is not None:
            self._line.read_again()
            if self.ready.is_set():
                self._offer_what_waits(self._line)

    def give_up(self) -> None:
        """What is due and could not go out will not: the history holds it, and how late it is."""
        due, self._due = self._due, []
        for one in due:
            unsent = self._attempted(self._connection, one)
            self._shared.recorder.info(unsent.attempt, "there was no line to send it on")

    def leave(self) -> None:
        """Drop the line, for good."""
        self._has_left = True
        self.ready.clear()
        if self._reopening is not None:
            self._reopening.cancel()
        if self._line is not None:
            self._line.drop()

    # ── what the line says ───────────────────────────────────────────────────────────────────

    def take_welcome(self, event: Connected) -> GlobalInboxSeq:
        """See `line.Owner`."""
        if self._line is not None:
            self._connection = self._line.number
        if self._cursor is None:
            self._cursor = self.base = event.head_global_inbox_seq
        return self._cursor

    def take_frame(self, frame: InboxFrame) -> None:
        """See `line.Owner`."""
        self._cursor = frame.global_inbox_seq
        if frame.envelope.sender_user_id == self.peer:
            self._shared.undelivered.discard(frame.envelope.message_id)

    def take_ack(self, ack: SendAck, raw: bytes) -> None:
        """See `line.Owner`."""
        unacked = self._unacked.pop(ack.idempotency_key, None)
        if unacked is not None:
            note_ack(self._shared.recorder, unacked.attempt, ack, raw)

    def take_error(self, error: Error) -> None:
        """See `line.Owner`."""
        key = UNSET if error.about is UNSET else error.about.idempotency_key
        unacked = None if key is UNSET else self._unacked.get(key)
        attempt = unacked.attempt if unacked is not None and unacked.is_under_way else None
        if self._line is not None:
            note_refusal(self._shared.recorder, self._line.number, attempt, error)
        if unacked is None or key is UNSET:
            return
        unacked.is_under_way = False
        if error.retryable and error.retry_after_ms is not UNSET:
            seconds = error.retry_after_ms / 1_000
            unacked.not_before = self._loop.time() + seconds
            self._loop.call_later(seconds, self._offer_again, key)
        else:
            del self._unacked[key]
            self._shared.undelivered.discard(unacked.message_id)

    def take_position(self, read: Read) -> None:
        """See `line.Owner`. Here nobody says how far they have read."""

    def take_resumed(self) -> None:
        """See `line.Owner`."""
        self.ready.set()
        if not self._resumed.done():
            self._resumed.set_result(None)
        if self._line is not None and self._can_send:
            self._offer_what_waits(self._line)

    def take_end(self) -> None:
        """See `line.Owner`: whatever was under way may be stored or not; a new line will show."""
        self.ready.clear()
        if not self._resumed.done():
            self._resumed.set_exception(LoadError("a line was lost before it had resumed"))
            self._resumed.exception()  # seen: nobody may be waiting for it yet
        for unacked in self._unacked.values():
            if unacked.is_under_way:
                self._shared.recorder.info(unacked.attempt, "the line was lost")
                unacked.is_under_way = False
                unacked.not_before = 0.0
        if not self._has_left and (self._reopening is None or self._reopening.done()):
            self._reopening = self._loop.create_task(self._reopen())

    # ── lines ────────────────────────────────────────────────────────────────────────────────

    async def _open(self) -> None:
        resumed = self._resumed = self._loop.create_future()  # the next line will have its own
        self._line = Line(self, self._shared.recorder)
        await self._line.open(self._shared.url, self.token, self._receive_bytes)
        async with asyncio.timeout(HANDSHAKE_SECONDS):
            await resumed

    async def _reopen(self) -> None:
        """Try again and again, with full jitter; a line that is lost before it resumed counts."""
        whole = BACKOFF_SECONDS
        while not self.ready.is_set():
            await asyncio.sleep(self._shared.chance.uniform(0, whole))
            whole = min(2 * whole, BACKOFF_MAX_SECONDS)
            try:
                await self._open()
            except (LoadError, TimeoutError):
                if self._line is not None:
                    self._line.drop()

    # ── sends ────────────────────────────────────────────────────────────────────────────────

    @property
    def _can_send(self) -> bool:
        return self.ready.is_set() and not self._is_stuck

    def _offer_what_waits(self, line: Line) -> None:
        """First what was offered before, in the order in which that was; then what is new."""
        now = self._loop.time()
        for unacked in self._unacked.values():
            if not unacked.is_under_way and unacked.not_before <= now:
                self._repeat(line, unacked)
        waiting, self._due = self._due, []
        for due in waiting:
            self._offer(line, due)

    def _offer(self, line: Line, due: _Due) -> None:
        unacked = self._attempted(line.number, due)
        self._unacked[unacked.key] = unacked
        self._shared.undelivered.add(unacked.message_id)
        line.write(unacked.event)

    def _attempted(self, connection: int, due: _Due) -> Unacked:
        """The message, and that it is offered now: that is in the history."""
        recorder, contents = self._shared.recorder, self._shared.contents
        self._sent += 1
        message_id = f"{self._message_prefix}{self._sent}"
        key = POISON + message_id if due.is_poison else message_id
        created_ms = time_ns() // 1_000_000
        envelope = Envelope(
            PROTOCOL,
            self.conversation_id,
            MessageId(message_id),
            self.user,
            self.peer,
            contents.ciphertexts[due.bulk],
            "text",
            TimeMs(created_ms),
            IdempotencyKey(key),
        )
        event = MSGPACK.encode(Send(envelope))
        attempt = recorder.send(
            connection,
            self.conversation,
            contents.numbers[due.bulk],
            created_ms=created_ms,
            message_id=message_id,
            key=key,
            late_ns=max(0, monotonic_ns() - due.meant_ns),
        )
        return Unacked(message_id, key, event, attempt)

    def _offer_again(self, key: str) -> None:
        unacked = self._unacked.get(key)
        if unacked is not None and not unacked.is_under_way and self._can_send and self._line:
            self._repeat(self._line, unacked)

    def _repeat(self, line: Line, unacked: Unacked) -> None:
        unacked.attempt = self._shared.recorder.again(line.number, unacked.attempt)
        unacked.is_under_way = True
        line.write(unacked.event)
