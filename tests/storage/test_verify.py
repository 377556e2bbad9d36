"""The offline check finds every kind of damage, says where, and never says whose."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import lmdb
import pytest

from storage.directory import DATA_FILE
from storage.keys import (
    TABLES,
    IndexKey,
    Mark,
    Marks,
    pack_head,
    pack_inbox_state,
    pack_marks,
    pack_number,
    pack_pair,
    unpack_inbox_state,
)
from storage.snapshot import MAX_PROBLEMS, Snapshot
from storage.tables import (
    META_CHECK,
    META_EPOCH,
    META_FOLDED,
    META_JOURNAL_KEY,
    Tables,
)
from storage.verify import verify
from tests.storage.world import Sent, append, base, conversation, fold, mark, opened, writer

CANARY = "canary"
PAIR = conversation(f"{CANARY}-ann", f"{CANARY}-bob", CANARY)  # conversation 1, users 1 and 2
ALONE = conversation(f"{CANARY}-ann", f"{CANARY}-ann", CANARY)  # conversation 2, user 1
ANN, BOB = PAIR.low, PAIR.high

Transaction: TypeAlias = "lmdb.Transaction[bytes]"
Damage = Callable[[Transaction, Tables], object]


def make(path: Path) -> Path:
    """Inbox 1: four rows, the last of conversation 2. Inbox 2: three rows."""
    sends = [
        Sent(ANN, f"{CANARY}-1", CANARY.encode() * 3),
        Sent(BOB, f"{CANARY}-1"),
        Sent(ANN, f"{CANARY}-3"),
    ]
    with opened(path) as environment:
        writer(environment).transact(
            [
                append(PAIR, base(PAIR), sends),
                append(ALONE, base(ALONE), [Sent(ANN, f"{CANARY}-4")]),
                mark(PAIR, BOB, 2),
                mark(PAIR, BOB, 3, private=True),
                mark(ALONE, ANN, 1),
            ]
        )
        fold(environment)
    return path


def damage(path: Path, do: Damage) -> None:
    with opened(path) as environment:
        transaction = environment.begin()
        do(transaction, environment.tables)
        transaction.commit()


def put(table: bytes, key: bytes, value: bytes) -> Damage:
    return lambda txn, tables: txn.put(key, value, db=tables[table])


def delete(table: bytes, key: bytes) -> Damage:
    def do(txn: Transaction, tables: Tables) -> None:
        assert txn.delete(key, db=tables[table])

    return do


def flip(table: bytes, key: bytes, at: int) -> Damage:
    """One bit of a value, as a disk may."""

    def do(txn: Transaction, tables: Tables) -> None:
        value = bytearray(txn.get(key, b"", db=tables[table]))
        value[at] ^= 1
        txn.put(key, bytes(value), db=tables[table])

    return do


def rot(path: Path, table: bytes, key: bytes, at: int) -> None:
    """The same, done to a store that nobody opens: it would refuse to."""
    with lmdb.Environment(str(path), max_dbs=len(TABLES), lib_version=0) as env:
        rotten = env.open_db(table, create=False)
        with env.begin(write=True) as transaction:
            flip(table, key, at)(transaction, {table: rotten})


def move(table: bytes, old: bytes, new: bytes) -> Damage:
    def do(txn: Transaction, tables: Tables) -> None:
        value = txn.pop(old, db=tables[table])
        assert value is not None
        txn.put(new, value, db=tables[table])

    return do


def swap(table: bytes, one: bytes, other: bytes) -> Damage:
    def do(txn: Transaction, tables: Tables) -> None:
        first, second = txn.get(one, b"", db=tables[table]), txn.get(other, b"", db=tables[table])
        txn.put(one, second, db=tables[table])
        txn.put(other, first, db=tables[table])

    return do


def both(*parts: Damage) -> Damage:
    return lambda txn, tables: [part(txn, tables) for part in parts]


def inbox_state(user: bytes, **numbers: int) -> Damage:
    """Other numbers in the state of an inbox."""

    def do(txn: Transaction, tables: Tables) -> None:
        row = txn.get(user, bytes(32), db=tables[b"inboxes"])
        state = unpack_inbox_state(row)._replace(**numbers)
        txn.put(user, pack_inbox_state(*state), db=tables[b"inboxes"])

    return do


def head_row(user: bytes, head: int, truncated_through: int) -> Damage:
    return inbox_state(user, global_inbox_seq=head, truncated_through=truncated_through)


def empty(table: bytes, prefix: bytes) -> Damage:
    def do(txn: Transaction, tables: Tables) -> None:
        cursor = txn.cursor(tables[table])
        while cursor.set_range(prefix) and cursor.key().startswith(prefix):
            cursor.delete()

    return do


def key_of(side: int, name: str) -> bytes:
    return pack_number(1) + bytes((side,)) + f"{CANARY}-{name}".encode()


BOB_READS = pack_number(1) + b"\1"
BOB_NAME = BOB.encode()
UNKNOWN = pack_number(9)
CHAIN_AT, CIPHERTEXT_END = 1, -1


def test_whole_store_is_found_whole_and_counted(tmp_path: Path) -> None:
    found = verify(make(tmp_path / "store"))

    assert found.problems == []
    assert (found.ok, found.records, found.conversations, found.inboxes) == (True, 4, 2, 2)


@pytest.mark.parametrize(
    ("do", "problem"),
    [
        # the log
        (flip(b"log", pack_pair(1, 1), -60), "conversation 1: record 1"),
        (flip(b"log", pack_pair(1, 2), CHAIN_AT), "record 2: its chain value does not follow"),
        (flip(b"log", pack_pair(1, 2), 0), "log: row 2 has no valid form"),
        (put(b"log", pack_pair(1, 2), b"\1" + bytes(40)), "record 2 cannot be decoded"),
        (put(b"log", pack_pair(1, 2), b"\1" + bytes(3)), "log: row 2 has no valid form"),
        (delete(b"log", pack_pair(1, 2)), "conversation 1: record 2 is missing"),
        (delete(b"log", pack_pair(1, 3)), "conversation 1: its head row is not that of record 2"),
        (swap(b"log", pack_pair(1, 1), pack_pair(1, 3)), "conversation 1: record 1 belongs"),
        (move(b"log", pack_pair(2, 1), pack_pair(1, 4)), "conversation 1: record 4 belongs"),
        (move(b"log", pack_pair(2, 1), UNKNOWN + pack_number(1)), "conversation 9: it has records"),
        (delete(b"log", pack_pair(2, 1)), "conversation 2: it has a name but no record"),
        # heads
        (put(b"heads", pack_number(1), pack_head(2, bytes(32))), "its head row is not that of"),
        (
            flip(b"heads", pack_number(1), -1),
            "conversation 1: its head row is not that of record 3",
        ),
        (delete(b"heads", pack_number(1)), "conversation 1: its head row is not that of record 3"),
        (put(b"heads", UNKNOWN, pack_head(1, bytes(32))), "conversation 9: its head is 1, but"),
        # keys
        (delete(b"keys", key_of(0, "1")), "conversation 1: record 1: its idempotency key is miss"),
        (flip(b"keys", key_of(1, "1"), -1), "record 2: its idempotency key tells another story"),
        (flip(b"keys", key_of(1, "1"), 15), "record 2: its idempotency key tells another story"),
        (flip(b"keys", key_of(1, "1"), 7), "record 2: its idempotency key tells another story"),
        (
            lambda txn, tables: txn.put(
                key_of(1, "9"), txn.get(key_of(1, "1"), b"", db=tables[b"keys"]), db=tables[b"keys"]
            ),
            "conversation 1, side 1: record 2 has a key that is not its own",
        ),
        (put(b"keys", key_of(0, "9"), UNKNOWN + bytes(72)), "names record 9, which is not there"),
        (put(b"keys", key_of(0, "?"), UNKNOWN + bytes(72)), "keys: row 3 has no valid form"),
        # inboxes
        (delete(b"inbox", pack_pair(1, 2)), "inbox 1: row 2 is missing"),
        (delete(b"inbox", pack_pair(2, 3)), "inbox 2: its head is 3, but its last row is 2"),
        (swap(b"inbox", pack_pair(1, 1), pack_pair(1, 2)), "inbox 1: row 1 is record 2 of conv"),
        (put(b"inbox", pack_pair(2, 3), pack_pair(1, 2)), "inbox 2: row 3 is record 2 of conver"),
        (put(b"inbox", pack_pair(2, 4), pack_pair(2, 1)), "inbox 2: row 4 is of conversation 2"),
        (
            both(
                put(b"inbox", pack_pair(2, 4), pack_pair(1, 4)),
                head_row(pack_number(2), 4, 0),
            ),
            "inbox 2: row 4 is record 4 of conversation 1",
        ),
        (
            both(
                delete(b"inbox", pack_pair(1, 4)),
                head_row(pack_number(1), 3, 0),
            ),
            "inbox 1: it has records of 1 conversations, not 2",
        ),
        (
            both(
                delete(b"inbox", pack_pair(2, 3)),
                head_row(pack_number(2), 2, 0),
            ),
            "inbox 2: it ends with record 2 of conversation 1",
        ),
        (empty(b"inbox", pack_number(2)), "inbox 2: it is empty, but its user takes part"),
        (delete(b"inboxes", pack_number(2)), "inbox 2: it has rows but no head row"),
        (
            head_row(pack_number(2), 2, 0),
            "inbox 2: its head is 2, but its last",
        ),
        (
            head_row(pack_number(2), 3, 1),
            "inbox 2: row 2 is missing",
        ),
        (
            head_row(UNKNOWN, 3, 0),
            "inbox 9: its head is 3, but it has no row",
        ),
        # what quotas count
        (
            inbox_state(pack_number(1), inbox_bytes=7),
            "inbox 1: what quotas count is 7 bytes in it, not 1060",
        ),
        (
            inbox_state(pack_number(1), sent_bytes=8),
            "inbox 1: what quotas count is 8 bytes sent, not 798",
        ),
        (
            inbox_state(pack_number(2), sent_bytes=9),
            "inbox 2: what quotas count is 9 bytes sent, not 262",
        ),
        # names
        (delete(b"users", BOB_NAME), "user 2: its number and its name do not agree"),
        (put(b"users", b"other", pack_number(2)), "users: there are not as many names as numbers"),
        (put(b"user_names", pack_number(2), b"other"), "user 2: its number and its name do not"),
        (move(b"user_names", pack_number(2), pack_number(3)), "user 3: its number and its name"),
        (put(b"user_names", pack_number(2), b"\0"), "user_names: row 2 has no valid form"),
        (
            move(b"conversation_names", pack_number(2), pack_number(3)),
            "conversation 3: its number and its name do not agree",
        ),
        (
            flip(b"conversations", b"\0".join(part.encode() for part in PAIR), 15),
            "conversation 1: its number and its name do not agree",
        ),
        (put(b"conversations", b"x\0y\0z", bytes(24)), "conversations: there are not as many nam"),
        # read positions
        (
            put(b"reads", BOB_READS, pack_marks(Marks(Mark(4, 5, 3), Mark(2, 5, 3)))),
            "conversation 1, side 1: the read position is beyond the head",
        ),
        (
            put(b"reads", BOB_READS, pack_marks(Marks(Mark(1, 5, 3), Mark(2, 5, 3)))),
            "conversation 1, side 1: the read position is beyond the head",
        ),
        (
            put(b"reads", BOB_READS, pack_marks(Marks(Mark(3, 5, 2), Mark(2, 5, 4)))),
            "conversation 1, side 1: the index lacks a read position",
        ),
        (
            both(
                put(b"reads", BOB_READS, pack_marks(Marks(Mark(3, 5, 9), Mark(2, 5, 4)))),
                put(b"read_index", IndexKey(2, 9, 1, 1).pack(), b""),
            ),
            "conversation 1, side 1: stored at 9, beyond the head of that inbox",
        ),
        (put(b"reads", UNKNOWN + b"\0", bytes(48)), "conversation 9, side 0: a read position of n"),
        (
            put(b"reads", pack_number(2) + b"\1", bytes(48)),
            "conversation 2, side 1: a read position of nobody",
        ),
        (put(b"reads", pack_number(1) + b"\2", bytes(48)), "reads: row 2 has no valid form"),
        (delete(b"read_index", IndexKey(2, 3, 1, 1).pack()), "the index lacks a read position"),
        (
            put(b"read_index", IndexKey(1, 1, 1, 0).pack(), b""),
            "conversation 1, side 0: the index has a read position that is not there",
        ),
    ],
)
def test_planted_damage_is_found_where_it_is(tmp_path: Path, do: Damage, problem: str) -> None:
    path = make(tmp_path / "store")
    damage(path, do)

    found = verify(path)

    assert not found.ok
    assert any(problem in one for one in found.problems), found.problems
    assert CANARY not in "".join(found.problems)


def test_every_flipped_bit_of_a_record_is_found(tmp_path: Path) -> None:
    path = make(tmp_path / "store")
    key = pack_pair(1, 1)
    with opened(path) as environment, environment.reading() as view:
        size = len(view.get(b"log", key) or b"")

    for at in range(0, size, 5):
        damage(path, flip(b"log", key, at))
        assert not verify(path).ok, at
        damage(path, flip(b"log", key, at))

    assert verify(path).ok


@pytest.mark.parametrize(
    ("table", "key", "size"),
    [
        (b"reads", BOB_READS, 60),
        (b"meta", META_EPOCH, 18),
        (b"meta", META_JOURNAL_KEY, 32),
        (b"meta", META_FOLDED, 21),
        (b"meta", META_CHECK, 12),
    ],
)
def test_every_flipped_byte_of_what_no_other_row_tells_is_found(
    tmp_path: Path, table: bytes, key: bytes, size: int
) -> None:
    path = make(tmp_path / "store")
    for at in range(size):
        rot(path, table, key, at)
        assert not verify(path).ok, at
        rot(path, table, key, at)

    assert verify(path).ok


def test_a_name_in_meta_that_is_none_is_found(tmp_path: Path) -> None:
    path = make(tmp_path / "store")
    damage(path, move(b"meta", META_CHECK, b"chock"))

    assert not verify(path).ok


def test_a_store_from_before_there_were_checks_is_sound_and_gets_one(tmp_path: Path) -> None:
    path = make(tmp_path / "store")
    damage(path, delete(b"meta", META_CHECK))
    assert verify(path).ok

    with opened(path):
        pass
    rot(path, b"meta", META_EPOCH, 0)

    assert not verify(path).ok


def test_damaged_structure_is_found_without_opening_the_file(tmp_path: Path) -> None:
    path = make(tmp_path / "store")
    with (path / DATA_FILE).open("r+b") as file:
        for page in range(2, 12):
            file.seek(page * 4096 + 8)
            file.write(b"\xff" * 16)

    found = verify(path)

    assert not found.ok
    assert all(problem.startswith("structure: ") for problem in found.problems)


def test_verification_changes_no_byte_and_makes_no_file(tmp_path: Path) -> None:
    path = make(tmp_path / "store")
    before = {one.name: one.read_bytes() for one in path.iterdir()}
    path.chmod(0o500)
    try:
        assert verify(path).ok
    finally:
        path.chmod(0o700)

    assert {one.name: one.read_bytes() for one in path.iterdir()} == before


def test_problems_without_end_are_counted_not_listed(tmp_path: Path) -> None:
    with opened(tmp_path / "store") as environment, environment.reading() as view:
        snapshot = Snapshot(view)
        for n in range(MAX_PROBLEMS + 5):
            snapshot.problem(f"problem {n}")

        assert len(snapshot.problems) == MAX_PROBLEMS + 1
        assert snapshot.problems[-1] == "and 5 more"
