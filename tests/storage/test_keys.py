"""The layouts of `docs/storage.md`, byte by byte: a store written today is read tomorrow."""

from __future__ import annotations

from hashlib import blake2b

import pytest

from ksmp.chain import chain_base
from ksmp.types import ConversationId, ConversationKey, UserId
from storage.keys import (
    TABLES,
    ConversationNumbers,
    InboxState,
    IndexKey,
    KeyRow,
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
    parse_conversation_name,
    record_bytes,
    side_of,
    unpack_conversation,
    unpack_head,
    unpack_inbox_state,
    unpack_index_key,
    unpack_key_row,
    unpack_marks,
    unpack_number,
    unpack_pair,
    unpack_record,
    unpack_side,
)
from storage.tables import (
    ENGINE,
    META_CHECK,
    META_ENGINE,
    META_EPOCH,
    META_FOLDED,
    META_FORMAT,
    META_JOURNAL_KEY,
)
from tests.storage.world import Sent, append, base, conversation, fold, mark, opened, writer

ONE = "0000000000000001"
TWO = "0000000000000002"
THREE = "0000000000000003"
CHAIN = bytes(range(32))
DIGEST = bytes(range(32, 64))
MARKS_CHECK = "1668ba6f722653e34c3bd9b1"
KEY = ConversationKey(ConversationId("c"), UserId("ann"), UserId("bob"))


@pytest.mark.parametrize(
    ("packed", "expected", "unpack", "meaning"),
    [
        (pack_number(1), ONE, unpack_number, 1),
        (pack_pair(1, 2), ONE + TWO, unpack_pair, (1, 2)),
        (pack_side(2, 1), TWO + "01", unpack_side, (2, 1)),
        (pack_conversation(1, 2, 3), ONE + TWO + THREE, unpack_conversation, (1, 2, 3)),
        (conversation_name(KEY), "6300616e6e00626f62", parse_conversation_name, KEY),
        (pack_head(3, CHAIN), THREE + CHAIN.hex(), unpack_head, (3, CHAIN)),
        (
            pack_inbox_state(3, 1, 2, 1),
            THREE + ONE + TWO + ONE,
            unpack_inbox_state,
            InboxState(3, 1, 2, 1),
        ),
        (pack_record(CHAIN, b"\x8b"), "01" + CHAIN.hex() + "8b", unpack_record, (CHAIN, b"\x8b")),
        (
            pack_key_row(1, 2, CHAIN, DIGEST),
            ONE + TWO + CHAIN.hex() + DIGEST.hex(),
            unpack_key_row,
            KeyRow(1, 2, CHAIN, DIGEST),
        ),
        (
            pack_marks(Marks(Mark(3, 2, 1), Mark(1, 2, 3))),
            THREE + TWO + ONE + ONE + TWO + THREE + MARKS_CHECK,
            unpack_marks,
            Marks(Mark(3, 2, 1), Mark(1, 2, 3)),
        ),
        (
            IndexKey(1, 2, 3, 1).pack(),
            ONE + TWO + THREE + "01",
            unpack_index_key,
            IndexKey(1, 2, 3, 1),
        ),
    ],
)
def test_layout_is_the_documented_one_and_reads_back(packed, expected, unpack, meaning) -> None:
    assert packed.hex() == expected
    assert unpack(packed) == meaning


def test_what_a_record_counts_for_is_the_length_of_its_row() -> None:
    recorded = b"\x8b" * 300

    assert record_bytes(recorded) == len(pack_record(CHAIN, recorded))


def check(row: bytes) -> bytes:
    """As the documentation has it."""
    return blake2b(row, digest_size=12).digest()


def test_marks_from_before_there_were_checks_are_read() -> None:
    row = pack_marks(Marks(Mark(3, 2, 1), Mark(1, 2, 3)))

    assert unpack_marks(row[:48]) == unpack_marks(row)


@pytest.mark.parametrize("bit", range(8 * 60))
def test_marks_of_which_a_bit_has_flipped_are_not_read(bit: int) -> None:
    row = bytearray(pack_marks(Marks(Mark(3, 2, 1), Mark(1, 2, 3))))
    row[bit // 8] ^= 1 << bit % 8

    with pytest.raises(ValueError, match="differs from what was stored"):
        unpack_marks(bytes(row))


def test_record_of_another_version_is_not_misread() -> None:
    with pytest.raises(ValueError, match="version 1"):
        unpack_record(b"\x02" + CHAIN + b"\x8b")


def test_longest_names_fit_into_a_key_of_the_engine() -> None:
    longest = "x" * 128

    name = conversation_name(ConversationKey(*(longest,) * 3))  # type: ignore[arg-type]

    assert len(name) == 386 <= 511


def test_side_is_zero_for_the_lower_user_and_with_oneself() -> None:
    oneself = ConversationKey(ConversationId("c"), UserId("ann"), UserId("ann"))

    assert side_of(KEY, UserId("ann")) == 0
    assert side_of(KEY, UserId("bob")) == 1
    assert side_of(oneself, UserId("ann")) == 0


def test_reader_sees_all_marks_and_the_peer_the_public_ones() -> None:
    marks = Marks(Mark(5, 0, 7), Mark(4, 0, 6))

    assert index_keys(ConversationNumbers(9, 1, 2), 0, marks) == [(1, 7, 9, 0), (2, 6, 9, 0)]
    assert index_keys(ConversationNumbers(9, 1, 2), 1, marks) == [(2, 7, 9, 1), (1, 6, 9, 1)]
    assert index_keys(ConversationNumbers(9, 1, 1), 0, marks) == [(1, 7, 9, 0)]


def test_whole_store_has_exactly_the_documented_rows(tmp_path) -> None:
    key = conversation("bob", "ann")
    new = append(key, base(key), [Sent("bob", "k")])
    (record,) = new.records
    chain, recorded = record.chain, record.recorded
    with opened(tmp_path / "store") as environment:
        writer(environment).transact([new, mark(key, "ann", 1, at=2)])
        fold(environment)
        transaction = environment.begin()
        stored = {table: list(transaction.cursor(environment.tables[table])) for table in TABLES}
        transaction.abort()

    at = record.server_received_at_ms.to_bytes(8, "big")
    one, two = bytes.fromhex(ONE), bytes.fromhex(TWO)
    size = (1 + 32 + len(recorded)).to_bytes(8, "big")
    journal_key = blake2b(b"epoch-of-the-tests", digest_size=32).digest()
    marks = (one + two + one) * 2
    assert stored == {
        b"meta": [
            (META_CHECK, check(b"epoch-of-the-tests\0" + journal_key)),
            (META_ENGINE, ENGINE),
            (META_EPOCH, b"epoch-of-the-tests"),
            (META_FOLDED, bytes(7) + b"\1\1" + check(bytes(7) + b"\1\1")),
            (META_FORMAT, b"\0\3"),
            (META_JOURNAL_KEY, journal_key),
        ],
        b"users": [(b"ann", one), (b"bob", two)],
        b"user_names": [(one, b"ann"), (two, b"bob")],
        b"conversations": [(b"c\0ann\0bob", one + one + two)],
        b"conversation_names": [(one, b"c\0ann\0bob")],
        b"heads": [(one, one + chain)],
        b"inboxes": [
            (one, one + bytes(8) + size + bytes(8)),
            (two, one + bytes(8) + size + size),
        ],
        b"log": [(one + one, b"\1" + chain + recorded)],
        b"inbox": [(one + one, one + one), (two + one, one + one)],
        b"keys": [(one + b"\1k", one + at + chain + record.payload_digest)],
        b"reads": [(one + b"\0", marks + check(marks))],
        b"read_index": [(one + one + one + b"\0", b""), (two + one + one + b"\0", b"")],
    }
    assert chain != chain_base(*key)
