"""From an older format of the store to this one, within one write transaction.

    1 → 2    a row of `inboxes` gets what quotas count: 16 bytes become 32
    2 → 3    the rows of `meta` that the journal needs (`storage.tables.begin_journal`)

Whoever calls commits: a crash leaves the store as it was, and the next start upgrades it again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

import lmdb

from storage.keys import (
    ConversationNumbers,
    pack_inbox_state,
    pack_number,
    pack_pair,
    unpack_conversation,
    unpack_key_row,
    unpack_number,
    unpack_pair,
    unpack_side,
)
from storage.tables import Tables

_SIDED_BYTES: Final = 9  # of a key in `keys`: conversation and side


def upgrade(transaction: lmdb.Transaction[bytes], tables: Tables) -> None:
    """Count for every user what is stored, and write it beside the head of the inbox.

    Reads each record once. Memory grows with the number of users and conversations.

    Raises:
        ValueError, LookupError, struct.error: the rows contradict themselves.
    """
    inbox_bytes: Counter[int] = Counter()
    sent_bytes: Counter[int] = Counter()
    conversations = _conversations(transaction, tables)
    for conversation, side, size in _records(transaction, tables):
        numbers = conversations[conversation]
        sent_bytes[numbers.low if side == 0 else numbers.high] += size
        for user in numbers.participants:
            inbox_bytes[user] += size
    with transaction.cursor(tables[b"inboxes"]) as lmdb_cursor:
        heads = {unpack_number(key): unpack_pair(row) for key, row in lmdb_cursor}
        lmdb_cursor.putmulti(
            (pack_number(user), pack_inbox_state(*head, inbox_bytes[user], sent_bytes[user]))
            for user, head in heads.items()
        )


def _conversations(
    transaction: lmdb.Transaction[bytes], tables: Tables
) -> dict[int, ConversationNumbers]:
    found = {}
    with transaction.cursor(tables[b"conversations"]) as lmdb_cursor:
        for row in lmdb_cursor.iternext(keys=False, values=True):
            numbers = unpack_conversation(row)
            found[numbers.conversation] = numbers
    return found


def _records(
    transaction: lmdb.Transaction[bytes], tables: Tables
) -> Iterator[tuple[int, int, int]]:
    """(conversation, side of the sender, length) of each record, by its one idempotency key."""
    with transaction.cursor(tables[b"keys"]) as lmdb_cursor:
        for key, row in lmdb_cursor:
            conversation, side = unpack_side(key[:_SIDED_BYTES])
            place = pack_pair(conversation, unpack_key_row(row).server_seq)
            record = transaction.get(place, db=tables[b"log"])
            if record is not None:  # a key may outlive its record
                yield conversation, side, len(record)
