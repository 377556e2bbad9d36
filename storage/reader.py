"""Reads of inboxes: each in a short view of its own, so that no reader keeps old pages alive.

A cursor of an inbox is a number the client keeps; nothing is remembered here between two pages.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import lmdb

from ksmp.types import GlobalInboxSeq, UserId
from storage.environment import Environment
from storage.errors import StorageError, StoreFailedError
from storage.keys import (
    ConversationNumbers,
    IndexKey,
    pack_number,
    pack_pair,
    parse_conversation_name,
    unpack_conversation,
    unpack_inbox_state,
    unpack_index_key,
    unpack_marks,
    unpack_number,
    unpack_record,
)
from storage.log import InboxHead, InboxRow, Page, ReadState, ReadStatePage
from storage.rows import View
from storage.tables import corrupt

_UNREADABLE = (lmdb.Error, OSError, ValueError, struct.error, StorageError)


class Reader:
    """Reads one store from any thread, one call at a time on each. Every call returns an outcome.

    A `StorageError` is returned, not raised: it travels back to the asker through an executor.
    """

    def __init__(self, environment: Environment) -> None:
        self._environment = environment

    # ── records ──────────────────────────────────────────────────────────────────────────────

    def page(
        self, user: UserId, after: GlobalInboxSeq, through: GlobalInboxSeq, max_bytes: int
    ) -> Page | StorageError:
        """See `storage.log.Log.page`."""
        try:
            with self._environment.reading() as view:
                return self._page(view, user, after, through, max_bytes)
        except _UNREADABLE as error:
            return _failure(error)

    def _page(
        self,
        view: View,
        user: UserId,
        after: GlobalInboxSeq,
        through: GlobalInboxSeq,
        max_bytes: int,
    ) -> Page:
        number = self._user_number(view, user)
        if number is None:
            return Page((), GlobalInboxSeq(0))
        head, truncated_through = self._inbox_head(view, number)
        last = GlobalInboxSeq(max(after, truncated_through))
        due = min(through, head)
        rows: list[InboxRow] = []
        size = 0
        for seq, place in self._inbox(view, number, last, due):
            row = view.get(b"log", place)
            if row is None:
                raise corrupt(self._environment.path, "an inbox names a record that is not there")
            chain, recorded = unpack_record(row)
            if rows and size + len(recorded) > max_bytes:
                return Page(rows, truncated_through)
            size += len(recorded)
            rows.append(InboxRow(seq, last, recorded, chain))
            last = seq
        if last < due:
            # Passing over it would lose it silently; whoever got an empty page would ask for ever.
            raise corrupt(self._environment.path, "an inbox lacks a record that is due")
        return Page(rows, truncated_through)

    def _inbox_head(self, view: View, user: int) -> InboxHead:
        row = view.get(b"inboxes", pack_number(user))
        if row is None:  # it is made with the user, and never removed
            raise corrupt(self._environment.path, "a user has no inbox")
        seq, truncated_through, _, _ = unpack_inbox_state(row)
        return InboxHead(GlobalInboxSeq(seq), GlobalInboxSeq(truncated_through))

    def _inbox(
        self, view: View, user: int, after: GlobalInboxSeq, through: GlobalInboxSeq
    ) -> Iterator[tuple[GlobalInboxSeq, bytes]]:
        """(number in the inbox, key in the log) of each row in the range, as far as none lacks.

        This engine counts an inbox 1, 2, 3 …: the number before is one less.
        """
        for number in range(after + 1, through + 1):
            place = view.get(b"inbox", pack_pair(user, number))
            if place is None:
                return
            yield GlobalInboxSeq(number), place

    # ── read positions ───────────────────────────────────────────────────────────────────────

    def read_states(
        self, user: UserId, stored_from: GlobalInboxSeq, after: bytes | None, limit: int
    ) -> ReadStatePage | StorageError:
        """See `storage.log.Log.read_states`."""
        try:
            with self._environment.reading() as view:
                return self._read_states(view, user, stored_from, after, limit)
        except _UNREADABLE as error:
            return _failure(error)

    def _read_states(
        self,
        view: View,
        user: UserId,
        stored_from: GlobalInboxSeq,
        after: bytes | None,
        limit: int,
    ) -> ReadStatePage:
        number = self._user_number(view, user)
        if number is None:
            return ReadStatePage((), None)
        # A key with a zero byte behind it is the least that sorts after the key.
        start = IndexKey(number, stored_from, 0, 0).pack() if after is None else after + b"\0"
        states: list[ReadState] = []
        for key, _ in view.range(b"read_index", start):
            entry = unpack_index_key(key)
            if entry.user != number:
                break
            states.append(self._read_state(view, entry))
            if len(states) >= limit:
                return ReadStatePage(states, key)
        return ReadStatePage(states, None)

    def _read_state(self, view: View, entry: IndexKey) -> ReadState:
        name = view.get(b"conversation_names", pack_number(entry.conversation))
        marks = view.get(b"reads", entry.reads_key())
        row = name and view.get(b"conversations", name)
        if not (name and marks and row):
            raise corrupt(self._environment.path, "the index of read positions names none")
        conversation = parse_conversation_name(name)
        own, public = unpack_marks(marks)
        mark = own if _is_reader(entry, unpack_conversation(row)) else public
        reader = conversation.low if entry.side == 0 else conversation.high
        return ReadState(conversation, reader, mark.position)

    def _user_number(self, view: View, user: UserId) -> int | None:
        row = view.get(b"users", user.encode())
        return None if row is None else unpack_number(row)


def _is_reader(entry: IndexKey, numbers: ConversationNumbers) -> bool:
    return entry.user == (numbers.low if entry.side == 0 else numbers.high)


def _failure(error: Exception) -> StorageError:
    if isinstance(error, StorageError):
        return error
    failure = StoreFailedError(
        "the store cannot be read",
        str(error) if isinstance(error, lmdb.Error | OSError) else "a row has no valid form",
        "Check the disk, then run `ksmp-relay verify`.",
    )
    failure.__cause__ = error
    return failure
