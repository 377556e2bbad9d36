"""The rows that the relay puts for new records, without the relay: same tables, same sizes.

The contents are made up where only their length matters, such as chains; the keys are real ones,
since in which order they come decides how many pages change. Each conversation is of a pair of
users of its own, who send by turns, and ids are as long as those of the ordering benchmark.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from typing import Final

from ksmp.codec import encode_recorded
from ksmp.events import Envelope
from ksmp.types import (
    PROTOCOL,
    ConversationId,
    ConversationKey,
    IdempotencyKey,
    MessageId,
    ServerSeq,
    TimeMs,
    UserId,
    conversation_key,
)
from storage.keys import (
    TABLES,
    conversation_name,
    pack_conversation,
    pack_head,
    pack_inbox_state,
    pack_key_row,
    pack_number,
    pack_pair,
    pack_record,
    pack_side,
    record_bytes,
)

TransactionRows = dict[bytes, list[tuple[bytes, bytes]]]
"""By table, in the order of the tables; those of each in the order of their keys."""

RECEIVED_MS: Final = TimeMs(1_700_000_000_000)
CHAIN: Final = sha256(b"a chain").digest()
DIGEST: Final = sha256(b"a digest").digest()
PREFIX: Final = "bench.0a1b2c3d"


def transactions(records: int, conversations: int, size: int) -> Iterator[TransactionRows]:
    """The rows of one transaction after the other, for ever; each holds so many new records.

    They go to the conversations by turns, from the first transaction to the last.
    """
    talks = [_Conversation(number, bytes(size)) for number in range(1, conversations + 1)]
    turn = 0
    while True:
        rows: dict[bytes, dict[bytes, bytes]] = {table: {} for table in TABLES}
        for _ in range(records):
            talks[turn].put_next(rows)
            turn = (turn + 1) % conversations
        yield {table: sorted(of_table.items()) for table, of_table in rows.items() if of_table}


class _Conversation:
    """One conversation, its two users' inboxes, and how far all three have come."""

    def __init__(self, number: int, ciphertext: bytes) -> None:
        one, other = sorted(UserId(f"bench-{2 * number - side}") for side in (2, 1))
        self._key = conversation_key(ConversationId(f"{PREFIX}.{number - 1}"), one, other)
        self._number = number
        self._users = (2 * number - 1, 2 * number)
        self._ciphertext = ciphertext
        self._seq = 0
        self._inbox_bytes = 0

    def put_next(self, rows: dict[bytes, dict[bytes, bytes]]) -> None:
        """All rows of the next record; what only the last of a transaction says is replaced."""
        if self._seq == 0:
            self._put_names(rows)
        self._seq += 1
        side = self._seq % 2
        key, recorded = self._recorded(side)
        number, seq = self._number, self._seq
        rows[b"log"][pack_pair(number, seq)] = pack_record(CHAIN, recorded)
        rows[b"keys"][pack_side(number, side) + key.encode()] = pack_key_row(
            seq, RECEIVED_MS, CHAIN, DIGEST
        )
        rows[b"heads"][pack_number(number)] = pack_head(seq, CHAIN)
        self._inbox_bytes += record_bytes(recorded)
        for user in self._users:
            rows[b"inbox"][pack_pair(user, seq)] = pack_pair(number, seq)
            rows[b"inboxes"][pack_number(user)] = pack_inbox_state(
                seq, 0, self._inbox_bytes, self._inbox_bytes // 2
            )

    def _recorded(self, side: int) -> tuple[str, bytes]:
        """The idempotency key of the next record, and its envelope as it is stored."""
        _, low, high = self._key
        sender, recipient = (high, low) if side else (low, high)
        key = f"{self._key.conversation_id}.{'ab'[side]}.{(self._seq + 1) // 2}"
        envelope = Envelope(
            PROTOCOL,
            self._key.conversation_id,
            MessageId(key),
            sender,
            recipient,
            self._ciphertext,
            "text",
            RECEIVED_MS,
            IdempotencyKey(key),
        )
        return key, encode_recorded(envelope, ServerSeq(self._seq), RECEIVED_MS)

    def _put_names(self, rows: dict[bytes, dict[bytes, bytes]]) -> None:
        key: ConversationKey = self._key
        for user, name in zip(self._users, key[1:], strict=True):
            rows[b"users"][name.encode()] = pack_number(user)
            rows[b"user_names"][pack_number(user)] = name.encode()
        rows[b"conversations"][conversation_name(key)] = pack_conversation(
            self._number, *self._users
        )
        rows[b"conversation_names"][pack_number(self._number)] = conversation_name(key)
