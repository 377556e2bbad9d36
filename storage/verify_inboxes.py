"""Inboxes and read positions, against the log that `storage.verify_log` has found to be there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import groupby

from storage.keys import (
    InboxState,
    IndexKey,
    Marks,
    index_keys,
    pack_number,
    unpack_inbox_state,
    unpack_index_key,
    unpack_marks,
    unpack_number,
    unpack_pair,
    unpack_side,
)
from storage.snapshot import Snapshot
from storage.verify_log import Conversations

_InboxRow = tuple[tuple[int, int], tuple[int, int]]


def check_inboxes(snapshot: Snapshot, conversations: Conversations) -> None:
    """Each record is once in each participant's inbox, in its conversation's order, no gap."""
    expected: Counter[int] = Counter()
    for conversation in conversations.values():
        expected.update(conversation.numbers.participants)
    seen: set[int] = set()
    rows = snapshot.rows(b"inbox", unpack_pair, unpack_pair)
    for user, group in groupby(rows, lambda row: row[0][0]):
        seen.add(user)
        _InboxCheck(snapshot, user, conversations).run(group, expected[user])
    for user in expected.keys() - seen:
        snapshot.problem(f"inbox {user}: it is empty, but its user takes part in conversations")
    for user, state in snapshot.rows(b"inboxes", unpack_number, unpack_inbox_state):
        seq = state.global_inbox_seq
        if user not in seen and seq != state.truncated_through:
            snapshot.problem(f"inbox {user}: its head is {seq}, but it has no row")


def check_bytes(snapshot: Snapshot, conversations: Conversations) -> None:
    """What quotas count of each user is what there is."""
    stored, sent = _count_bytes(conversations)
    for user, state in snapshot.rows(b"inboxes", unpack_number, unpack_inbox_state):
        place = f"inbox {user}: what quotas count"
        if state.inbox_bytes != stored[user]:
            snapshot.problem(f"{place} is {state.inbox_bytes} bytes in it, not {stored[user]}")
        if state.sent_bytes != sent[user]:
            snapshot.problem(f"{place} is {state.sent_bytes} bytes sent, not {sent[user]}")


def _count_bytes(conversations: Conversations) -> tuple[Counter[int], Counter[int]]:
    """What is stored in each user's inbox, and what each user has sent."""
    stored: Counter[int] = Counter()
    sent: Counter[int] = Counter()
    for conversation in conversations.values():
        for user in conversation.numbers.participants:
            stored[user] += sum(conversation.sent_bytes)
        sent[conversation.numbers.low] += conversation.sent_bytes[0]
        sent[conversation.numbers.high] += conversation.sent_bytes[1]
    return stored, sent


class _InboxCheck:
    """Walks one inbox in order."""

    def __init__(self, snapshot: Snapshot, user: int, conversations: Conversations) -> None:
        self._snapshot = snapshot
        self._user = user
        self._conversations = conversations
        self._last: dict[int, int] = {}  # of each conversation, the record seen last

    def run(self, rows: Iterable[_InboxRow], expected_conversations: int) -> None:
        """Check every row, then the head row, then that nothing is missing at the end."""
        head = self._snapshot.get(b"inboxes", pack_number(self._user), unpack_inbox_state)
        if head is None:
            self._problem("it has rows but no head row")
        last, truncated_through, _, _ = head or InboxState()
        place = truncated_through
        for (_, seq), (conversation, record) in rows:
            if seq != place + 1:
                self._problem(f"row {place + 1} is missing")
            self._check_row(seq, conversation, record, truncated_through > 0)
            place = seq
        if head is not None and place != last:
            self._problem(f"its head is {last}, but its last row is {place}")
        for conversation, record in self._last.items():
            known = self._conversations.get(conversation)
            if known is not None and record != known.length:
                self._problem(f"it ends with record {record} of conversation {conversation}")
        if not truncated_through and len(self._last) != expected_conversations:
            self._problem(
                f"it has records of {len(self._last)} conversations, not {expected_conversations}"
            )

    def _check_row(self, seq: int, conversation: int, record: int, is_truncated: bool) -> None:
        known = self._conversations.get(conversation)
        if known is None or self._user not in known.numbers.participants:
            self._problem(f"row {seq} is of conversation {conversation}, which is not its user's")
            return
        before = self._last.get(conversation, record - 1 if is_truncated else 0)
        if record != before + 1 or record > known.length:
            self._problem(
                f"row {seq} is record {record} of conversation {conversation}, not {before + 1}"
            )
        self._last[conversation] = record

    def _problem(self, text: str) -> None:
        self._snapshot.problem(f"inbox {self._user}: {text}")


def check_reads(snapshot: Snapshot, conversations: Conversations) -> None:
    """Nobody has read beyond a head, and the index has exactly the rows the marks ask for."""
    indexed = 0
    for (number, side), marks in snapshot.rows(b"reads", unpack_side, unpack_marks):
        place = f"conversation {number}, side {side}"
        conversation = conversations.get(number)
        if conversation is None or side >= len(conversation.numbers.participants):
            snapshot.problem(f"{place}: a read position of nobody")
            continue
        if not marks.public.server_seq <= marks.own.server_seq <= conversation.length:
            snapshot.problem(f"{place}: the read position is beyond the head")
        for key in index_keys(conversation.numbers, side, marks):
            if snapshot.has(b"read_index", key.pack()):
                indexed += 1
            else:
                snapshot.problem(f"{place}: the index lacks a read position")
            _check_stored_at(snapshot, place, key)
    if indexed != snapshot.count(b"read_index"):
        _find_stray_index_keys(snapshot, conversations)


def _check_stored_at(snapshot: Snapshot, place: str, key: IndexKey) -> None:
    head = snapshot.get(b"inboxes", pack_number(key.user), unpack_inbox_state)
    if head is None or key.stored_at > head.global_inbox_seq:
        snapshot.problem(f"{place}: stored at {key.stored_at}, beyond the head of that inbox")


def _find_stray_index_keys(snapshot: Snapshot, conversations: Conversations) -> None:
    for key, _ in snapshot.rows(b"read_index", unpack_index_key, bytes):
        conversation = conversations.get(key.conversation)
        marks = snapshot.get(b"reads", key.reads_key(), unpack_marks) or Marks()
        if conversation is None or key not in index_keys(conversation.numbers, key.side, marks):
            snapshot.problem(
                f"conversation {key.conversation}, side {key.side}: "
                "the index has a read position that is not there"
            )
