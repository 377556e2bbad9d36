"""The dumb model of `storage.log`: dicts, no disk.

Each transaction settles after a checkpoint, so that other tasks run in between as they do in
life. Its inbox numbers leave gaps when asked to, since nothing above the log may count on their
being dense.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import trio

from ksmp.chain import chain_base
from ksmp.codec import decode_recorded
from ksmp.events import RecordedEnvelope
from ksmp.types import (
    ConversationKey,
    Epoch,
    GlobalInboxSeq,
    ServerSeq,
    TimeMs,
    UserId,
)
from storage.log import (
    Append,
    Appended,
    ConversationHead,
    Failed,
    Full,
    InboxHead,
    InboxPlace,
    InboxRow,
    KnownKey,
    KnownKeys,
    MarkRead,
    NewRecord,
    NoSuchRecord,
    OpenInbox,
    Operation,
    Outcome,
    OverQuota,
    Page,
    ReadHead,
    ReadMarked,
    ReadPosition,
    ReadState,
    ReadStatePage,
    SequenceConflict,
    Settle,
)


class _Mark(NamedTuple):
    own: ReadPosition
    public: ReadPosition
    own_stored: int
    public_stored: int


class MemoryLog:
    """`storage.log.Log` over dicts. `run` must be running for operations to settle."""

    def __init__(self, after_commit: Callable[[], None] = lambda: None, *, stride: int = 1) -> None:
        self.epoch = Epoch("epoch-1")
        self.after_commit = after_commit
        self.stride = stride  # between one number of an inbox and the next
        self.records: dict[ConversationKey, list[NewRecord]] = {}
        self.inboxes: dict[UserId, list[tuple[ConversationKey, int]]] = {}
        self.marks: dict[tuple[ConversationKey, UserId], _Mark] = {}
        self.is_full = False
        self.too_much: set[str] = set()  # idempotency keys of records that are over quota
        self.failure: Exception | None = None
        self.unreadable: Exception | None = None  # what reading raises
        self.truncated: dict[UserId, int] = {}
        self.pages_read = 0
        self.is_held = False  # while set, nothing settles
        self._waiting: deque[tuple[Operation, Settle]] = deque()
        self._wake = trio.Event()

    def submit(self, operation: Operation, settle: Settle) -> None:
        self._waiting.append((operation, settle))
        self._wake.set()

    def release(self) -> None:
        self.is_held = False
        self._wake.set()

    async def run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            if self.is_held:
                continue
            batch, self._waiting = self._waiting, deque()
            outcomes = [self.commit(operation) for operation, _ in batch]
            await trio.lowlevel.checkpoint()
            for (_, settle), outcome in zip(batch, outcomes, strict=True):
                settle(outcome)
            self.after_commit()

    def commit(self, operation: Operation) -> Outcome:
        """Carry out `operation` at once; nobody is told but the caller."""
        if self.failure is not None:
            return Failed(self.failure)
        match operation:
            case Append():
                return self._append(operation)
            case ReadHead(key):
                return self.head(key)
            case OpenInbox(user):
                return InboxHead(self.inbox_head(user), self._truncated_through(user))
            case MarkRead():
                return self._mark(operation)

    def head(self, key: ConversationKey) -> ConversationHead:
        records = self.records.get(key)
        if not records:
            return ConversationHead(ServerSeq(0), chain_base(*key))
        return ConversationHead(records[-1].server_seq, records[-1].chain)

    def inbox_head(self, user: UserId) -> GlobalInboxSeq:
        return GlobalInboxSeq(self.stride * len(self.inboxes.get(user, [])))

    def _truncated_through(self, user: UserId) -> GlobalInboxSeq:
        return GlobalInboxSeq(self.truncated.get(user, 0))

    def _append(self, append: Append) -> Outcome:
        head = self.head(append.conversation)
        if head.server_seq != append.last_seq:
            return SequenceConflict(head)
        stored = self.records.get(append.conversation, [])
        by_key = {(record.sender, record.idempotency_key): record for record in stored}
        known = {
            index: KnownKey(
                old.server_seq, old.server_received_at_ms, old.chain, old.payload_digest
            )
            for index, record in enumerate(append.records)
            if (old := by_key.get((record.sender, record.idempotency_key))) is not None
        }
        if known:
            return KnownKeys(known)
        refused = frozenset(
            index
            for index, record in enumerate(append.records)
            if record.idempotency_key in self.too_much
        )
        if refused:
            return OverQuota(refused)
        if self.is_full:
            return Full()
        _, low, high = append.conversation
        places: dict[UserId, list[InboxPlace]] = {low: [], high: []}
        self.records.setdefault(append.conversation, []).extend(append.records)
        for record in append.records:
            for user, own in places.items():
                before = self.inbox_head(user)
                self.inboxes.setdefault(user, []).append((append.conversation, record.server_seq))
                own.append(InboxPlace(self.inbox_head(user), before))
        return Appended(places)

    def _mark(self, operation: MarkRead) -> Outcome:
        records = self.records.get(operation.conversation)
        if not records or operation.server_seq > len(records):
            return NoSuchRecord()
        key = (operation.conversation, operation.reader)
        nothing = ReadPosition(ServerSeq(0), TimeMs(0))
        mark = self.marks.get(key, _Mark(nothing, nothing, 0, 0))
        position = ReadPosition(operation.server_seq, operation.read_at_ms)
        _, low, high = operation.conversation
        peer = high if operation.reader == low else low
        own_rose = position.server_seq > mark.own.server_seq
        public_rose = not operation.private and position.server_seq > mark.public.server_seq
        self.marks[key] = mark = _Mark(
            position if own_rose else mark.own,
            position if public_rose else mark.public,
            self.inbox_head(operation.reader) if own_rose else mark.own_stored,
            self.inbox_head(peer) if public_rose else mark.public_stored,
        )
        return ReadMarked(mark.own, mark.public, own_rose, public_rose)

    async def gather(self) -> None:
        """Memory is never slow."""

    async def page(
        self, user: UserId, after: GlobalInboxSeq, through: GlobalInboxSeq, max_bytes: int
    ) -> Page:
        await trio.lowlevel.checkpoint()
        self.pages_read += 1
        if self.unreadable is not None:
            raise self.unreadable
        rows: list[InboxRow] = []
        size = 0
        kept_after = max(after, self._truncated_through(user))
        for row in self.rows(user):
            if kept_after < row.global_inbox_seq <= through and size < max_bytes:
                size += len(row.recorded)
                rows.append(row)
        return Page(rows, self._truncated_through(user))

    def rows(self, user: UserId) -> list[InboxRow]:
        """The whole inbox, as it would be without retention."""
        rows = []
        for index, (key, seq) in enumerate(self.inboxes.get(user, [])):
            record = self.records[key][seq - 1]
            before, number = GlobalInboxSeq(index * self.stride), (index + 1) * self.stride
            rows.append(InboxRow(GlobalInboxSeq(number), before, record.recorded, record.chain))
        return rows

    async def read_states(
        self, user: UserId, stored_from: GlobalInboxSeq, after: bytes | None, limit: int
    ) -> ReadStatePage:
        await trio.lowlevel.checkpoint()
        if self.unreadable is not None:
            raise self.unreadable
        found: list[tuple[bytes, ReadState]] = []
        for (key, reader), mark in self.marks.items():
            is_own = reader == user
            position = mark.own if is_own else mark.public
            stored = mark.own_stored if is_own else mark.public_stored
            place = b"%020d %s" % (stored, repr((*key, reader)).encode())
            if user in key[1:] and position.server_seq and stored >= stored_from:
                found.append((place, ReadState(key, reader, position)))
        found = [one for one in sorted(found) if after is None or one[0] > after]
        following = found[limit - 1][0] if len(found) >= limit else None
        return ReadStatePage([state for _, state in found[:limit]], following)

    def envelopes(self, key: ConversationKey) -> list[RecordedEnvelope]:
        return [decode_recorded(record.recorded) for record in self.records.get(key, [])]
