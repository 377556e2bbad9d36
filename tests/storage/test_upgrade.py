"""A store of an older format is brought up to date: whole, in one step, or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import lmdb
import pytest

from storage.directory import DATA_FILE
from storage.epoch import begin_new_epoch
from storage.errors import StoreCorruptError, StoreIncompatibleError
from storage.keys import TABLES, InboxState, unpack_inbox_state, unpack_number, unpack_pair
from storage.log import Appended, KnownKeys
from storage.tables import META_CHECK, META_EPOCH, META_FOLDED, META_FORMAT, META_JOURNAL_KEY
from storage.upgrade import upgrade
from storage.verify import verify
from tests.storage.world import (
    EPOCH,
    Sent,
    append,
    base,
    conversation,
    fold,
    head_after,
    opened,
    writer,
)

ANN_BOB = conversation("ann", "bob")
ROWS: dict[str, dict[str, str]] = json.loads(
    (Path(__file__).parent / "format_1.json").read_text(encoding="ascii")
)
"""Every row, in hex, of a store that was written when the format was 1.

In conversation 1 `ann` sends k1 and k2, and `bob` between them k1: records of 239, 226 and 236
bytes. In conversation 2 `ann` sends 231 bytes to herself, in 3 `carl` sends 231 bytes to `bob`.
"""


def old_store(path: Path) -> Path:
    """The store of `ROWS`, as its writer left it."""
    path.mkdir()
    with lmdb.Environment(str(path), max_dbs=len(TABLES), lib_version=0) as env:
        with env.begin(write=True) as transaction:
            for table, rows in ROWS.items():
                opened_table = env.open_db(table.encode(), txn=transaction)
                for key, row in rows.items():
                    transaction.put(bytes.fromhex(key), bytes.fromhex(row), db=opened_table)
    return path


def downgraded(path: Path) -> Path:
    """The store at `path`, its inboxes as they were when the format was 1."""
    with opened(path) as environment:
        transaction = environment.begin()
        inboxes = environment.tables[b"inboxes"]
        for key, row in list(transaction.cursor(inboxes)):
            transaction.put(key, row[:16], db=inboxes)
        meta = environment.tables[b"meta"]
        transaction.put(META_FORMAT, b"\0\1", db=meta)
        transaction.delete(META_FOLDED, db=meta)
        transaction.delete(META_JOURNAL_KEY, db=meta)
        transaction.commit()
    return path


def states(path: Path) -> dict[int, InboxState]:
    with opened(path) as environment, environment.reading() as view:
        rows = view.range(b"inboxes")
        return {unpack_number(user): unpack_inbox_state(row) for user, row in rows}


def stored(path: Path, table: bytes) -> dict[str, str]:
    with lmdb.Environment(str(path), max_dbs=len(TABLES), lib_version=0) as env:
        opened_table = env.open_db(table, create=False)
        with env.begin() as transaction:
            return {key.hex(): row.hex() for key, row in transaction.cursor(opened_table)}


def test_the_first_opening_counts_what_each_user_has_stored_and_sent(tmp_path: Path) -> None:
    path = old_store(tmp_path / "store")

    found = states(path)

    of_both = 239 + 236 + 226
    assert found == {
        1: InboxState(4, 0, of_both + 231, 239 + 226 + 231),
        2: InboxState(4, 0, of_both + 231, 236),
        3: InboxState(1, 0, 231, 231),
    }
    assert verify(path).problems == []


def test_everything_but_the_inboxes_and_the_format_stays_byte_by_byte(tmp_path: Path) -> None:
    path = old_store(tmp_path / "store")
    with opened(path) as environment:
        assert environment.epoch == EPOCH

    for table in TABLES:
        if table not in (b"inboxes", b"meta"):
            assert stored(path, table) == ROWS[table.decode()], table
    meta = stored(path, b"meta")
    assert len(bytes.fromhex(meta.pop(META_JOURNAL_KEY.hex()))) == 32
    assert len(bytes.fromhex(meta.pop(META_CHECK.hex()))) == 12
    folded = meta.pop(META_FOLDED.hex())
    assert folded.startswith("00" * 8 + "01")
    assert meta == ROWS["meta"] | {META_FORMAT.hex(): "0003"}
    assert bytes.fromhex(meta[META_EPOCH.hex()]).decode() == EPOCH


def test_a_store_of_the_second_format_gets_a_journal_and_keeps_all_its_rows(
    tmp_path: Path,
) -> None:
    path = old_store(tmp_path / "store")
    counted = states(path)
    with opened(path) as environment:
        transaction = environment.begin()
        meta = environment.tables[b"meta"]
        transaction.put(META_FORMAT, b"\0\2", db=meta)
        transaction.delete(META_FOLDED, db=meta)
        transaction.delete(META_JOURNAL_KEY, db=meta)
        transaction.commit()

    assert states(path) == counted
    assert verify(path).problems == []
    assert stored(path, b"meta")[META_FORMAT.hex()] == "0003"


def test_an_upgraded_store_goes_on_where_it_was(tmp_path: Path) -> None:
    sends = [
        Sent("ann", "k1", b"sealed for bob"),
        Sent("bob", "k1", b"and for ann"),
        Sent("ann", "k2", b"x"),
    ]
    head = head_after(append(ANN_BOB, base(ANN_BOB), sends))
    with opened(old_store(tmp_path / "store")) as environment:
        one = writer(environment)

        outcomes = one.transact(
            [
                append(ANN_BOB, head, [Sent("bob", "k1", b"and for ann")]),
                append(ANN_BOB, head, [Sent("bob", "k5", b"later")]),
            ]
        )

    assert [type(outcome) for outcome in outcomes] == [KnownKeys, Appended]
    assert verify(tmp_path / "store").problems == []


def test_an_upgrade_that_is_cut_off_leaves_the_store_as_it_was_and_is_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = old_store(tmp_path / "store")

    def cut_off(*arguments: object) -> None:
        upgrade(*arguments)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr("storage.environment.upgrade", cut_off)
    with pytest.raises(KeyboardInterrupt):
        states(path)
    assert {table.decode(): stored(path, table) for table in TABLES} == ROWS

    monkeypatch.undo()
    assert len(states(path)) == 3
    assert verify(path).ok


def test_an_upgrade_finds_room_in_a_map_that_has_none(tmp_path: Path) -> None:
    pairs = [conversation(f"ann{n}", f"bob{n}") for n in range(400)]
    with opened(tmp_path / "store") as environment:
        writer(environment).transact(
            [append(key, base(key), [Sent(key.low, "k")]) for key in pairs]
        )
        fold(environment)
    expected = states(tmp_path / "store")
    path = downgraded(tmp_path / "store")

    with opened(path, map_size_bytes=1 << 16):
        pass

    assert states(path) == expected
    assert verify(path).ok


def test_a_new_epoch_upgrades_as_well(tmp_path: Path) -> None:
    path = old_store(tmp_path / "store")

    begin_new_epoch(path, lambda: EPOCH)

    assert verify(path).ok


def test_verify_changes_nothing_and_says_who_upgrades(tmp_path: Path) -> None:
    path = old_store(tmp_path / "store")
    before = (path / DATA_FILE).read_bytes()

    with pytest.raises(StoreIncompatibleError, match="Start the relay on it once"):
        verify(path)

    assert (path / DATA_FILE).read_bytes() == before


@pytest.mark.parametrize("table", ["conversations", "keys", "inboxes"])
def test_a_store_that_contradicts_itself_is_not_upgraded(tmp_path: Path, table: str) -> None:
    path = old_store(tmp_path / "store")
    with lmdb.Environment(str(path), max_dbs=len(TABLES), lib_version=0) as env:
        damaged = env.open_db(table.encode(), create=False)
        with env.begin(write=True) as transaction:
            key = next(iter(transaction.cursor(damaged)))[0]
            transaction.put(key, b"?", db=damaged)

    with pytest.raises(StoreCorruptError, match="contradict themselves"):
        states(path)

    assert stored(path, b"meta") == ROWS["meta"]


def test_heads_of_the_old_format_are_those_of_the_new_one(tmp_path: Path) -> None:
    old = {int(user, 16): unpack_pair(bytes.fromhex(row)) for user, row in ROWS["inboxes"].items()}

    found = states(old_store(tmp_path / "store"))

    assert {user: state[:2] for user, state in found.items()} == old
