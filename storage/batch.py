"""One transaction's decisions: each operation is judged against all that came before it.

Deciding reads, and collects rows in memory; nothing is stored before every operation has its
outcome. So an append is checked whole before anything of it is stored, one that is refused leaves
no trace, and the rows of all of them are one frame of the journal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, assert_never

from ksmp.chain import chain_base
from ksmp.types import ConversationKey, GlobalInboxSeq, ServerSeq, TimeMs, UserId
from storage.keys import (
    ConversationNumbers,
    InboxState,
    Mark,
    Marks,
    conversation_name,
    index_keys,
    pack_conversation,
    pack_head,
    pack_inbox_state,
    pack_key_row,
    pack_marks,
    pack_number,
    pack_pair,
    pack_record,
    pack_side,
    side_of,
    unpack_conversation,
    unpack_head,
    unpack_inbox_state,
    unpack_key_row,
    unpack_marks,
    unpack_number,
)
from storage.limits import StoreLimits, over_quota
from storage.log import (
    Append,
    Appended,
    ConversationHead,
    Full,
    InboxHead,
    InboxPlace,
    KnownKey,
    KnownKeys,
    MarkRead,
    NoSuchRecord,
    OpenInbox,
    Operation,
    Outcome,
    OverQuota,
    ReadHead,
    ReadMarked,
    SequenceConflict,
)
from storage.names import Names
from storage.rows import View, no_rows

_EMPTY_INBOX: Final = InboxState()
_NO_MARKS: Final = Marks()


class Batch:
    """What one transaction will store, and what its operations see until then."""

    def __init__(
        self,
        view: View,
        names: Names,
        limits: StoreLimits,
        may_write: Callable[[], bool],
    ) -> None:
        """`may_write` is asked before anything new is stored; False answers `Full`."""
        self._view = view
        self._names = names
        self._limits = limits
        self._has_quotas = limits.has_quotas
        self._may_write = may_write
        self.rows = no_rows()
        self._users: dict[UserId, int] = {}
        self._conversations: dict[ConversationKey, ConversationNumbers] = {}
        self._numbers: dict[bytes, int] = {}  # of each table of names, the last one given

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to store."""
        return not any(self.rows.values())

    def decide(self, operation: Operation) -> Outcome:
        """The outcome `operation` will have once this transaction is committed."""
        match operation:
            case Append():
                return self._append(operation)
            case ReadHead(conversation):
                return self._head(conversation, self._find_conversation(conversation))
            case OpenInbox(user):
                return self._inbox_head(user)
            case MarkRead():
                return self._mark_read(operation)
            case _:
                assert_never(operation)

    def remember_names(self) -> None:
        """Called once the transaction is committed: what it found and added is now certain."""
        self._names.users.learn(self._users)
        self._names.conversations.learn(self._conversations)
        self._names.last_numbers.update(self._numbers)

    # ── append ───────────────────────────────────────────────────────────────────────────────

    def _append(self, append: Append) -> Appended | SequenceConflict | KnownKeys | OverQuota | Full:
        conversation = append.conversation
        numbers = self._find_conversation(conversation)
        head = self._head(conversation, numbers)
        if head.server_seq != append.last_seq:
            return SequenceConflict(head)
        if numbers is not None:
            known = self._known_keys(append, _key_names(append, numbers))
            if known:
                return KnownKeys(known)
        if self._has_quotas:
            states = {user: self._inbox_state(self._find_user(user)) for user in conversation[1:]}
            refused = over_quota(self._limits, append, states)
            if refused:
                return OverQuota(refused)
        if not self._may_write():
            return Full()
        if numbers is None:
            numbers = self._add_conversation(conversation)
        by_low, by_high = self._store_records(append, numbers)
        size = by_low + by_high
        places = {conversation.low: self._store_inbox(numbers.low, append, numbers, size, by_low)}
        if numbers.high != numbers.low:
            places[conversation.high] = self._store_inbox(
                numbers.high, append, numbers, size, by_high
            )
        return Appended(places)

    def _known_keys(self, append: Append, key_names: Sequence[bytes]) -> dict[int, KnownKey]:
        known = {}
        for index, name in enumerate(key_names):
            row = self._get(b"keys", name)
            if row is not None:
                seq, received_at, chain, digest = unpack_key_row(row)
                known[index] = KnownKey(ServerSeq(seq), TimeMs(received_at), chain, digest)
        return known

    def _store_records(self, append: Append, numbers: ConversationNumbers) -> tuple[int, int]:
        """How many bytes the lower and the higher of the two users have sent."""
        conversation = numbers.conversation
        low = append.conversation.low
        sent = [0, 0]
        log = self.rows[b"log"]
        keys = self.rows[b"keys"]
        for record, name in zip(append.records, _key_names(append, numbers), strict=True):
            seq = record.server_seq
            row = pack_record(record.chain, record.recorded)
            sent[record.sender != low] += len(row)
            log[pack_pair(conversation, seq)] = row
            keys[name] = pack_key_row(
                seq, record.server_received_at_ms, record.chain, record.payload_digest
            )
        last = append.records[-1]
        self.rows[b"heads"][pack_number(conversation)] = pack_head(last.server_seq, last.chain)
        return sent[0], sent[1]

    def _store_inbox(
        self,
        user: int,
        append: Append,
        numbers: ConversationNumbers,
        size: int,
        sent: int,
    ) -> list[InboxPlace]:
        """One row per record, of `size` bytes in all, of which the inbox's user has `sent` some.

        This engine counts 1, 2, 3 …, so the number before is one less.
        """
        conversation = numbers.conversation
        inbox = self.rows[b"inbox"]
        last, truncated_through, inbox_bytes, sent_bytes = self._inbox_state(user)
        seq = GlobalInboxSeq(last)
        places = []
        for record in append.records:
            previous = seq
            seq = GlobalInboxSeq(previous + 1)
            inbox[pack_pair(user, seq)] = pack_pair(conversation, record.server_seq)
            places.append(InboxPlace(seq, previous))
        self.rows[b"inboxes"][pack_number(user)] = pack_inbox_state(
            seq, truncated_through, inbox_bytes + size, sent_bytes + sent
        )
        return places

    # ── read positions ───────────────────────────────────────────────────────────────────────

    def _mark_read(self, mark: MarkRead) -> ReadMarked | NoSuchRecord | Full:
        numbers = self._find_conversation(mark.conversation)
        if numbers is None or mark.server_seq > self._head(mark.conversation, numbers).server_seq:
            return NoSuchRecord()
        side = side_of(mark.conversation, mark.reader)
        key = pack_side(numbers.conversation, side)
        row = self._get(b"reads", key)
        before = _NO_MARKS if row is None else unpack_marks(row)
        after = self._risen(before, mark, numbers, side)
        if after != before:
            if not self._may_write():
                return Full()
            self.rows[b"reads"][key] = pack_marks(after)
            self._move_in_index(numbers, side, before, after)
        return ReadMarked(
            after.own.position,
            after.public.position,
            after.own != before.own,
            after.public != before.public,
        )

    def _risen(
        self, before: Marks, mark: MarkRead, numbers: ConversationNumbers, side: int
    ) -> Marks:
        """Each maximum that rises is stored with the head of the inbox that will see it."""
        reader, peer = (numbers.low, numbers.high) if side == 0 else (numbers.high, numbers.low)
        own, public = before
        if mark.server_seq > own.server_seq:
            stored_at = self._inbox_state(reader).global_inbox_seq
            own = Mark(mark.server_seq, mark.read_at_ms, stored_at)
        if mark.server_seq > public.server_seq and not mark.private:
            stored_at = self._inbox_state(peer).global_inbox_seq
            public = Mark(mark.server_seq, mark.read_at_ms, stored_at)
        return Marks(own, public)

    def _move_in_index(
        self, numbers: ConversationNumbers, side: int, before: Marks, after: Marks
    ) -> None:
        rows = self.rows[b"read_index"]
        for old in index_keys(numbers, side, before):
            rows[old.pack()] = None
        for new in index_keys(numbers, side, after):
            rows[new.pack()] = b""

    # ── what is stored, and what this transaction adds to it ─────────────────────────────────

    def _get(self, table: bytes, key: bytes) -> bytes | None:
        row = self.rows[table].get(key)  # from the tables asked here, nothing is ever removed
        return self._view.get(table, key) if row is None else row

    def _head(
        self, conversation: ConversationKey, numbers: ConversationNumbers | None
    ) -> ConversationHead:
        row = numbers and self._get(b"heads", pack_number(numbers.conversation))
        if not row:
            return ConversationHead(ServerSeq(0), chain_base(*conversation))
        server_seq, chain = unpack_head(row)
        return ConversationHead(ServerSeq(server_seq), chain)

    def _inbox_head(self, user: UserId) -> InboxHead:
        seq, truncated_through, _, _ = self._inbox_state(self._find_user(user))
        return InboxHead(GlobalInboxSeq(seq), GlobalInboxSeq(truncated_through))

    def _inbox_state(self, user: int | None) -> InboxState:
        row = user and self._get(b"inboxes", pack_number(user))
        return unpack_inbox_state(row) if row else _EMPTY_INBOX

    def _find_user(self, user: UserId) -> int | None:
        number = self._users.get(user) or self._names.users.get(user)
        if number is None:
            row = self._view.get(b"users", user.encode())
            if row is not None:
                number = self._users[user] = unpack_number(row)
        return number

    def _find_conversation(self, conversation: ConversationKey) -> ConversationNumbers | None:
        numbers = self._conversations.get(conversation)
        if numbers is None:
            numbers = self._names.conversations.get(conversation)
        if numbers is None:
            row = self._view.get(b"conversations", conversation_name(conversation))
            if row is not None:
                numbers = self._conversations[conversation] = unpack_conversation(row)
        return numbers

    # ── numbers for new names ────────────────────────────────────────────────────────────────

    def _add_user(self, user: UserId) -> int:
        number = self._next_number(b"user_names")
        name = user.encode()
        self.rows[b"users"][name] = pack_number(number)
        self.rows[b"user_names"][pack_number(number)] = name
        self._users[user] = number
        return number

    def _add_conversation(self, conversation: ConversationKey) -> ConversationNumbers:
        low = self._find_user(conversation.low) or self._add_user(conversation.low)
        high = self._find_user(conversation.high) or self._add_user(conversation.high)
        number = self._next_number(b"conversation_names")
        numbers = ConversationNumbers(number, low, high)
        name = conversation_name(conversation)
        self.rows[b"conversations"][name] = pack_conversation(*numbers)
        self.rows[b"conversation_names"][pack_number(number)] = name
        self._conversations[conversation] = numbers
        return numbers

    def _next_number(self, table: bytes) -> int:
        """Names are never removed: the last number is also how many were given."""
        number = self._numbers.get(table) or self._names.last_numbers.get(table)
        if number is None:
            last = self._view.last_key(table)
            number = unpack_number(last) if last else 0
        self._numbers[table] = number + 1
        return number + 1


def _key_names(append: Append, numbers: ConversationNumbers) -> list[bytes]:
    """The keys in `keys` of an append's records, in order."""
    low = append.conversation.low
    prefix = (pack_side(numbers.conversation, 0), pack_side(numbers.conversation, 1))
    return [
        prefix[record.sender != low] + record.idempotency_key.encode() for record in append.records
    ]
