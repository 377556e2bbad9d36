"""Names and records: each conversation is 1..N, its chain unbroken, its head and its keys right."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import NamedTuple

from ksmp.chain import chain_after, chain_base, chain_payload
from ksmp.codec import decode_recorded
from ksmp.events import RecordedEnvelope
from ksmp.malformed import MalformedError
from ksmp.types import ConversationKey, IdempotencyKey, conversation_key, is_identifier
from storage.keys import (
    ConversationNumbers,
    KeyRow,
    conversation_name,
    pack_number,
    pack_pair,
    pack_side,
    parse_conversation_name,
    payload_digest,
    record_bytes,
    side_of,
    unpack_conversation,
    unpack_head,
    unpack_key_row,
    unpack_number,
    unpack_pair,
    unpack_record,
    unpack_side,
)
from storage.snapshot import Snapshot


class Conversation(NamedTuple):
    """A conversation as the log has it."""

    length: int
    numbers: ConversationNumbers
    sent_bytes: list[int]
    """The lengths of its rows in `log`, by the side of their senders."""


Conversations = dict[int, Conversation]
_LogRow = tuple[tuple[int, int], tuple[bytes, bytes]]


def check_names(snapshot: Snapshot) -> None:
    """Numbers are 1..N, each has one name, and each name leads back to its number."""
    for expected, (number, name) in enumerate(
        snapshot.rows(b"user_names", unpack_number, _parse_user), 1
    ):
        if number != expected or snapshot.get(b"users", name, unpack_number) != number:
            snapshot.problem(f"user {number}: its number and its name do not agree")
    if snapshot.count(b"users") != snapshot.count(b"user_names"):
        snapshot.problem("users: there are not as many names as numbers")
    for expected, (number, key) in enumerate(
        snapshot.rows(b"conversation_names", unpack_number, parse_conversation_name), 1
    ):
        if number != expected or not _leads_back(snapshot, number, key):
            snapshot.problem(f"conversation {number}: its number and its name do not agree")
    if snapshot.count(b"conversations") != snapshot.count(b"conversation_names"):
        snapshot.problem("conversations: there are not as many names as numbers")


def _leads_back(snapshot: Snapshot, number: int, key: ConversationKey) -> bool:
    low = snapshot.get(b"users", key.low.encode(), unpack_number)
    high = snapshot.get(b"users", key.high.encode(), unpack_number)
    row = snapshot.get(b"conversations", conversation_name(key), unpack_conversation)
    return row is not None and row == (number, low, high)


def _parse_user(name: bytes) -> bytes:
    if not is_identifier(name.decode("ascii")):
        raise ValueError("not an identifier")
    return name


# ── the log ──────────────────────────────────────────────────────────────────────────────────


def check_log(snapshot: Snapshot) -> Conversations:
    """Every record is where and what its number, its chain, its head and its key say."""
    found: Conversations = {}
    keyed = 0
    rows = snapshot.rows(b"log", unpack_pair, unpack_record)
    for number, group in groupby(rows, lambda row: row[0][0]):
        name = snapshot.get(b"conversation_names", pack_number(number), parse_conversation_name)
        numbers = name and snapshot.get(
            b"conversations", conversation_name(name), unpack_conversation
        )
        if name is None or numbers is None:
            snapshot.problem(f"conversation {number}: it has records but no name")
            continue
        check = _ConversationCheck(snapshot, number, name)
        check.run(group)
        found[number] = Conversation(check.length, numbers, check.sent_bytes)
        keyed += check.keyed
    for number, _ in snapshot.rows(b"conversation_names", unpack_number, bytes):
        if number not in found:
            snapshot.problem(f"conversation {number}: it has a name but no record")
    for number, (seq, _) in snapshot.rows(b"heads", unpack_number, unpack_head):
        if number not in found:
            snapshot.problem(f"conversation {number}: its head is {seq}, but it has no record")
    if keyed != snapshot.count(b"keys"):
        _find_stray_keys(snapshot)
    return found


class _ConversationCheck:
    """Walks one conversation's records in order."""

    def __init__(self, snapshot: Snapshot, number: int, key: ConversationKey) -> None:
        self._snapshot = snapshot
        self._number = number
        self._key = key
        self._chain = chain_base(*key)
        self.length = 0
        self.keyed = 0
        self.sent_bytes = [0, 0]

    def run(self, rows: Iterable[_LogRow]) -> None:
        """Check every record, then the head row."""
        for (_, seq), (chain, recorded) in rows:
            if seq != self.length + 1:
                self._problem(f"record {self.length + 1} is missing")
            self._check_record(seq, chain, recorded)
            self.length, self._chain = seq, chain
        head = self._snapshot.get(b"heads", pack_number(self._number), unpack_head)
        if head is None or head != (self.length, self._chain):
            self._problem(f"its head row is not that of record {self.length}")

    def _check_record(self, seq: int, chain: bytes, recorded: bytes) -> None:
        try:
            record = decode_recorded(recorded)
        except MalformedError:
            self._problem(f"record {seq} cannot be decoded")
            return
        side = side_of(self._key, record.sender_user_id)
        self.sent_bytes[side] += record_bytes(recorded)
        if record.server_seq != seq or _conversation_of(record) != self._key:
            self._problem(f"record {seq} belongs elsewhere")
        if chain_after(self._chain, record) != chain:
            self._problem(f"record {seq}: its chain value does not follow from its content")
        row = self._snapshot.get(
            b"keys", _key_name(self._number, self._key, record), unpack_key_row
        )
        if row is None:
            self._problem(f"record {seq}: its idempotency key is missing")
            return
        self.keyed += row.server_seq == seq
        if row != _expected_key_row(record, chain):
            self._problem(f"record {seq}: its idempotency key tells another story")

    def _problem(self, text: str) -> None:
        self._snapshot.problem(f"conversation {self._number}: {text}")


def _find_stray_keys(snapshot: Snapshot) -> None:
    """Each row of `keys` that is not the key of the record it names."""
    for (number, side, key), row in snapshot.rows(b"keys", _parse_key_name, unpack_key_row):
        place = f"conversation {number}, side {side}"
        stored = snapshot.get(b"log", pack_pair(number, row.server_seq), unpack_record)
        if stored is None:
            snapshot.problem(f"{place}: a key names record {row.server_seq}, which is not there")
            continue
        try:
            record = decode_recorded(stored[1])
        except MalformedError:
            continue  # told already
        conversation = _conversation_of(record)
        if (side, key) != (
            side_of(conversation, record.sender_user_id),
            record.idempotency_key,
        ):
            snapshot.problem(f"{place}: record {row.server_seq} has a key that is not its own")


def _conversation_of(record: RecordedEnvelope) -> ConversationKey:
    return conversation_key(record.conversation_id, record.sender_user_id, record.recipient_user_id)


def _key_name(number: int, key: ConversationKey, record: RecordedEnvelope) -> bytes:
    side = side_of(key, record.sender_user_id)
    return pack_side(number, side) + record.idempotency_key.encode()


def _parse_key_name(name: bytes) -> tuple[int, int, IdempotencyKey]:
    number, side = unpack_side(name[:9])
    key = name[9:].decode("ascii")
    if not is_identifier(key):
        raise ValueError("not an identifier")
    return number, side, IdempotencyKey(key)


def _expected_key_row(record: RecordedEnvelope, chain: bytes) -> KeyRow:
    digest = payload_digest(chain_payload(record))
    return KeyRow(record.server_seq, record.server_received_at_ms, chain, digest)
