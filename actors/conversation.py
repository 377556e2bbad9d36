"""The actor of one conversation: it alone decides in which order its records stand.

A turn: take what waits in the mailbox, number it, chain it, hand one append to the log, wait, go
on. The log is the truth and the actor a cache of it. Its counter moves only when an append has
come back, and an append names the head it builds on, so whatever a predecessor left behind can
change nothing.

What a crash does
    Letters still in the mailbox stay there for the next incarnation.
    What the crashed turn had handed to the log is answered by the commit: `_settle_append` does
    not need its incarnation to be alive. The next incarnation reads its head through the same
    queue, so by the time it starts, all of that has settled.
    The rest of the batch is taken again: the letter that the turn was at by itself and the others
    together or, where that is not known, one letter at a time. A letter that then crashes a turn
    which held nothing else is a dead letter: it is answered `rejected`, and not tried again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final, Protocol

import trio

from actors.dead_letters import DeadLetters
from actors.failures import describe
from actors.letters import Letter, ReadLetter, SendLetter, concerning
from actors.mailbox import Mailbox
from actors.openings import Openings
from actors.pending import Pending
from actors.rates import retry_after_ms
from actors.telemetry import Telemetry, hashed_conversation
from ksmp.chain import chain_link
from ksmp.codec import encode_recorded
from ksmp.events import Read, SendAck
from ksmp.types import ConversationKey, ServerSeq, TimeMs, UserId
from storage.failpoints import Failpoint
from storage.keys import payload_digest
from storage.log import (
    Append,
    Appended,
    ConversationHead,
    Failed,
    Full,
    InboxPlace,
    KnownKey,
    KnownKeys,
    Log,
    Lost,
    MarkRead,
    NewRecord,
    NoSuchRecord,
    Outcome,
    OverQuota,
    ReadHead,
    ReadMarked,
    SequenceConflict,
)

STORAGE_FULL_RETRY_MS: Final = 5_000

OVER_QUOTA_RETRY_MS: Final = 60_000
"""How soon to try again what is too much to store: nothing of it goes by itself."""


class Publisher(Protocol):
    """Where committed records and reads go: the inboxes of those who are connected."""

    def publish(
        self,
        letters: Sequence[Letter],
        records: Sequence[NewRecord],
        places: Mapping[UserId, Sequence[InboxPlace]],
    ) -> None:
        """Move the published heads, and note whom to wake: both sides, and who sent the letters."""

    def publish_read(self, letter: ReadLetter, marked: ReadMarked) -> None:
        """Tell every device that may know of it; the asker has its answer already."""


class Conversation:
    """One incarnation. Owns the counter and the chain; everything else about it is in the log."""

    __slots__ = (
        "_dead_letters",
        "_failpoint",
        "_head",
        "_key",
        "_log",
        "_mailbox",
        "_openings",
        "_publisher",
        "_telemetry",
        "_wall_clock",
    )

    def __init__(
        self,
        key: ConversationKey,
        mailbox: Mailbox,
        log: Log,
        publisher: Publisher,
        openings: Openings,
        wall_clock: Callable[[], TimeMs],
        telemetry: Telemetry,
        dead_letters: DeadLetters,
        failpoint: Failpoint | None = None,
    ) -> None:
        self._key = key
        self._mailbox = mailbox
        self._log = log
        self._publisher = publisher
        self._openings = openings
        self._wall_clock = wall_clock
        self._telemetry = telemetry
        self._dead_letters = dead_letters
        self._failpoint = failpoint
        self._head = ConversationHead(ServerSeq(0), b"")

    async def run(self) -> None:
        """Serve the mailbox until it is closed; raise whatever goes wrong, for the supervisor."""
        self._head = await self._read_head()
        await self._take_again()
        while letters := await self._mailbox.take(self._log.gather):
            await self._turn(letters)
            del letters  # while there are none to come, nothing of the last ones is kept

    async def _read_head(self) -> ConversationHead:
        pending = Pending()
        self._log.submit(ReadHead(self._key), pending.settle)
        match await pending.wait():
            case ConversationHead() as head:
                return head
            case _:  # the store has failed and the process is ending: stay out of its way
                return ConversationHead(ServerSeq(0), b"")

    async def _take_again(self) -> None:
        """What the crash of a predecessor left unanswered; whose fault that was will show."""
        blame = self._mailbox.blame
        if (dead := blame.bury()) is not None:
            self._dead_letters.bury(dead, self._wall_clock(), blame.failure, self._telemetry)
        for letters in blame.apart(self._mailbox.take_again()):
            blame.suspect = letters[0] if len(letters) == 1 else None
            try:
                await self._turn(letters)
            except trio.Cancelled:
                blame.suspect = None  # stopped from above, which is not the letter's fault
                raise
            except Exception as error:
                blame.failure = describe(error)
                raise
        blame.suspect = None

    async def _turn(self, letters: Sequence[Letter]) -> None:
        """Everything in `letters` is answered when this returns."""
        mark: Pending | None = None
        sends: list[SendLetter] = []
        for letter in letters:
            match letter:
                case SendLetter():
                    sends.append(letter)
                case ReadLetter():
                    mark = self._mark_read(letter)
        if sends and self._failpoint is not None and await self._failpoint.reach(concerning(sends)):
            for send in sends:
                send.refuse("outcome_unknown")
            sends = []
        while sends:
            sends = await self._append(sends)
        if mark is not None:
            await mark.wait()  # the last of them: outcomes come in the order of submission
        self._mailbox.blame.served()

    # ── sends ────────────────────────────────────────────────────────────────────────────────

    async def _append(self, letters: Sequence[SendLetter]) -> list[SendLetter]:
        """Hand over one append and wait; returns the letters that need another."""
        first, repeats = _apart_by_key(letters)
        if self._head.server_seq == 0 and not (first := self._within_openings(first)):
            return repeats
        append = self._number(first)
        if append.last_seq == 0:
            self._openings.count(append.records[0].sender)
        pending = Pending()
        for letter in first:
            letter.is_handed_over = True
        self._log.submit(append, partial(self._settle_append, first, append, pending))
        match await pending.wait():
            case Appended():
                last = append.records[-1]
                self._head = ConversationHead(last.server_seq, last.chain)
                return repeats
            case KnownKeys(known):
                for index, key in known.items():
                    _answer_known(first[index], key)
                fresh = [letter for index, letter in enumerate(first) if index not in known]
                return fresh + repeats
            case SequenceConflict(head):
                self._head = head
                return first + repeats
            case OverQuota(refused):
                for index in sorted(refused):
                    first[index].refuse("quota_exceeded", retry_after_ms=OVER_QUOTA_RETRY_MS)
                return [one for index, one in enumerate(first) if index not in refused] + repeats
            case Full():
                for letter in first:
                    letter.refuse("storage_full", retry_after_ms=STORAGE_FULL_RETRY_MS)
                return repeats
            case outcome:  # `first` has its answer; of what is lost, the next append finds the head
                return repeats if isinstance(outcome, Lost) else []

    def _within_openings(self, letters: Sequence[SendLetter]) -> list[SendLetter]:
        """`letters` from the first on whose sender may begin a conversation; refuse the others.

        No key can be known before a conversation's first record, so none is refused that was
        stored before.
        """
        for index, letter in enumerate(letters):
            wait = self._openings.wait(letter.envelope.sender_user_id)
            if not wait:
                return list(letters[index:])
            letter.refuse("quota_exceeded", retry_after_ms=retry_after_ms(wait))
        return []

    def _number(self, letters: Sequence[SendLetter]) -> Append:
        """An append of `letters` behind the head, numbered and chained. The head stays."""
        server_seq, chain = self._head
        received_at = self._wall_clock()
        records = []
        blame = self._mailbox.blame
        for letter in letters:
            blame.at_work = letter
            envelope = letter.envelope
            server_seq = ServerSeq(server_seq + 1)
            chain = chain_link(chain, server_seq, received_at, letter.payload)
            records.append(
                NewRecord(
                    server_seq,
                    received_at,
                    envelope.sender_user_id,
                    envelope.idempotency_key,
                    payload_digest(letter.payload),
                    chain,
                    encode_recorded(envelope, server_seq, received_at),
                )
            )
        blame.at_work = None
        if self._telemetry.is_debug:
            self._telemetry.debug(
                "send.numbered",
                conversation=hashed_conversation(self._key),
                records=len(records),
                server_seq=server_seq,
            )
        return Append(self._key, self._head.server_seq, records)

    def _settle_append(
        self, letters: Sequence[SendLetter], append: Append, pending: Pending, outcome: Outcome
    ) -> None:
        """Answer and publish what was committed, whether or not the incarnation still lives."""
        for letter in letters:
            letter.is_handed_over = False
        if append.last_seq == 0 and not isinstance(outcome, Appended):
            self._openings.take_back(append.records[0].sender)
        try:
            match outcome:
                case Appended(places):
                    for letter, record in zip(letters, append.records, strict=True):
                        letter.answer(_acknowledgement(letter, record), deliver=False)
                    self._publisher.publish(letters, append.records, places)
                    self._log_committed(append)
                case Failed() | Lost():
                    for letter in letters:
                        letter.refuse("outcome_unknown")
                case _ if self._mailbox.is_closed:  # quarantined meanwhile: nobody takes it again
                    left = max(0.0, self._mailbox.quarantined_until - trio.current_time())
                    for letter in letters:
                        letter.refuse("conversation_unavailable", retry_after_ms(left))
        finally:
            pending.settle(outcome)

    def _log_committed(self, append: Append) -> None:
        if self._telemetry.is_debug:
            self._telemetry.debug(
                "send.committed",
                conversation=hashed_conversation(self._key),
                records=len(append.records),
                server_seq=append.records[-1].server_seq,
            )

    # ── reads ────────────────────────────────────────────────────────────────────────────────

    def _mark_read(self, letter: ReadLetter) -> Pending:
        pending = Pending()
        letter.is_handed_over = True
        self._log.submit(
            MarkRead(
                self._key,
                letter.reader,
                letter.ack.server_seq,
                letter.is_private,
                self._wall_clock(),
            ),
            partial(self._settle_mark, letter, pending),
        )
        return pending

    def _settle_mark(self, letter: ReadLetter, pending: Pending, outcome: Outcome) -> None:
        letter.is_handed_over = False
        try:
            match outcome:
                case ReadMarked() as marked:
                    letter.answer(
                        Read(
                            letter.ack.conversation_id,
                            letter.reader,
                            letter.ack.peer_user_id,
                            marked.own.server_seq,
                            marked.own.read_at_ms,
                        ),
                        deliver=False,
                    )
                    self._publisher.publish_read(letter, marked)
                case NoSuchRecord():
                    letter.refuse("invalid_seq")
                case Full():
                    letter.refuse("storage_full", retry_after_ms=STORAGE_FULL_RETRY_MS)
                case _:
                    letter.refuse("outcome_unknown")
        finally:
            pending.settle(outcome)


def _apart_by_key(
    letters: Sequence[SendLetter],
) -> tuple[list[SendLetter], list[SendLetter]]:
    """The first letter of each idempotency key, and the others, in order.

    A repeat is judged after the outcome of the first: it goes into a later append.
    """
    seen = set()
    first = []
    repeats = []
    for letter in letters:
        key = (letter.envelope.sender_user_id, letter.envelope.idempotency_key)
        if key in seen:
            repeats.append(letter)
        else:
            seen.add(key)
            first.append(letter)
    return first, repeats


def _answer_known(letter: SendLetter, known: KnownKey) -> None:
    """The acknowledgement of the send that used the key first, or the conflict with it."""
    if payload_digest(letter.payload) == known.payload_digest:
        letter.answer(_acknowledgement(letter, known))
    else:
        letter.refuse("idempotency_conflict")


def _acknowledgement(letter: SendLetter, record: NewRecord | KnownKey) -> SendAck:
    envelope = letter.envelope
    return SendAck(
        envelope.conversation_id,
        envelope.recipient_user_id,
        envelope.message_id,
        envelope.idempotency_key,
        record.server_seq,
        record.server_received_at_ms,
        record.chain,
    )
