"""The store as lists and dictionaries: too simple to be wrong, which is what it is for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ksmp.types import ConversationKey, GlobalInboxSeq, ServerSeq, TimeMs, UserId
from storage.limits import StoreLimits
from storage.log import (
    Append,
    Appended,
    ConversationHead,
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
    ReadHead,
    ReadMarked,
    ReadPosition,
    ReadState,
    SequenceConflict,
)
from tests.storage.world import base

NOTHING = ReadPosition(ServerSeq(0), TimeMs(0))


class Seen(NamedTuple):
    position: ReadPosition = NOTHING
    stored_at: int = 0


def stored_bytes(records: Sequence[NewRecord]) -> int:
    return sum(1 + 32 + len(record.recorded) for record in records)


class Model:
    def __init__(self) -> None:
        self.is_full = False
        self.limits = StoreLimits()
        self.logs: dict[ConversationKey, list[NewRecord]] = {}
        self.inboxes: dict[UserId, list[NewRecord]] = {}
        self.own: dict[tuple[ConversationKey, UserId], Seen] = {}
        self.public: dict[tuple[ConversationKey, UserId], Seen] = {}

    def decide(self, operation: Operation) -> Outcome:
        match operation:
            case Append():
                return self._append(operation)
            case ReadHead(conversation):
                return self.head(conversation)
            case OpenInbox(user):
                return InboxHead(self.inbox_head(user), GlobalInboxSeq(0))
            case MarkRead():
                return self._mark(operation)

    def head(self, conversation: ConversationKey) -> ConversationHead:
        log = self.logs.get(conversation)
        return ConversationHead(log[-1].server_seq, log[-1].chain) if log else base(conversation)

    def inbox_head(self, user: UserId) -> GlobalInboxSeq:
        return GlobalInboxSeq(len(self.inboxes.get(user, [])))

    def rows(self, user: UserId) -> list[InboxRow]:
        return [
            InboxRow(GlobalInboxSeq(n), GlobalInboxSeq(n - 1), record.recorded, record.chain)
            for n, record in enumerate(self.inboxes.get(user, []), 1)
        ]

    def read_states(self, user: UserId, stored_from: int) -> set[ReadState]:
        states = set()
        for conversation, reader in self.own:
            if user == reader:
                seen = self.own[conversation, reader]
            elif user in conversation[1:]:
                seen = self.public[conversation, reader]
            else:
                continue
            if seen.position.server_seq and seen.stored_at >= stored_from:
                states.add(ReadState(conversation, reader, seen.position))
        return states

    def _append(self, append: Append) -> Outcome:
        conversation = append.conversation
        if self.head(conversation).server_seq != append.last_seq:
            return SequenceConflict(self.head(conversation))
        known = {
            index: KnownKey(
                old.server_seq, old.server_received_at_ms, old.chain, old.payload_digest
            )
            for index, new in enumerate(append.records)
            for old in self.logs.get(conversation, [])
            if (old.sender, old.idempotency_key) == (new.sender, new.idempotency_key)
        }
        if known:
            return KnownKeys(known)
        refused = self._too_much(append)
        if refused:
            return OverQuota(refused)
        if self.is_full:
            return Full()
        self.logs.setdefault(conversation, []).extend(append.records)
        places: dict[UserId, list[InboxPlace]] = {}
        for user in {conversation.low, conversation.high}:
            for record in append.records:
                before = self.inbox_head(user)
                self.inboxes.setdefault(user, []).append(record)
                places.setdefault(user, []).append(InboxPlace(self.inbox_head(user), before))
        return Appended(places)

    def _too_much(self, append: Append) -> frozenset[int]:
        _, low, high = append.conversation
        most_sent = self.limits.stored_bytes_per_sender or 10**12
        most_held = self.limits.stored_bytes_per_inbox or 10**12
        refused: set[int] = set()
        for index, record in enumerate(append.records):
            earlier = [one for n, one in enumerate(append.records[:index]) if n not in refused]
            from_sender = [one for one in [*self.sent(), *earlier] if one.sender == record.sender]
            held = [[*self.inboxes.get(user, []), *earlier] for user in (low, high)]
            if stored_bytes([*from_sender, record]) > most_sent or any(
                stored_bytes([*one, record]) > most_held for one in held
            ):
                refused.add(index)
        return frozenset(refused)

    def sent(self) -> list[NewRecord]:
        return [record for log in self.logs.values() for record in log]

    def _mark(self, mark: MarkRead) -> Outcome:
        conversation, reader = mark.conversation, mark.reader
        if conversation not in self.logs or mark.server_seq > len(self.logs[conversation]):
            return NoSuchRecord()
        peer = conversation.high if reader == conversation.low else conversation.low
        place = conversation, reader
        own, public = self.own.get(place, Seen()), self.public.get(place, Seen())
        position = ReadPosition(mark.server_seq, mark.read_at_ms)
        own_rose = mark.server_seq > own.position.server_seq
        public_rose = not mark.private and mark.server_seq > public.position.server_seq
        if (own_rose or public_rose) and self.is_full:
            return Full()
        if own_rose:
            own = Seen(position, self.inbox_head(reader))
        if public_rose:
            public = Seen(position, self.inbox_head(peer))
        self.own[place], self.public[place] = own, public
        return ReadMarked(own.position, public.position, own_rose, public_rose)
