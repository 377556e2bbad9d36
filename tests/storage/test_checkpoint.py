"""From the journal into the tables: nobody notices, whenever it is cut off and whoever reads."""

from __future__ import annotations

import os
import random
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lmdb
import pytest

from ksmp.types import GlobalInboxSeq, UserId
from storage.checkpoint import SLICES
from storage.directory import DATA_FILE
from storage.environment import Environment
from storage.errors import StoreCorruptError, StoreUnavailableError
from storage.journal import FRAME_ALIGNMENT, JOURNAL_FILES
from storage.log import Append, Appended, ConversationHead, Full, Page, ReadHead
from storage.reader import Reader
from storage.rows import View
from storage.tables import put_folded
from storage.transaction import FOLDED_AT, Writer
from storage.verify import verify
from tests.storage.world import (
    Sent,
    append,
    base,
    conversation,
    fold,
    head_after,
    mark,
    opened,
    writer,
)

KEY = conversation("ann", "bob")
OTHER = conversation("ann", "carl")
SMALL = 4 * FRAME_ALIGNMENT
ALL = GlobalInboxSeq(2**53 - 1)


def sends(one: Writer, amount: int, head: ConversationHead | None = None) -> ConversationHead:
    """So many transactions of two records and a read position; the head after them."""
    head = head or base(KEY)
    for _ in range(amount):
        number = head.server_seq
        new = append(KEY, head, [Sent("ann", f"k{number}"), Sent("bob", f"k{number}")])
        (outcome, _) = one.transact([new, mark(KEY, "bob", number + 1)])
        assert isinstance(outcome, Appended)
        head = head_after(new)
    return head


def whole_table(environment: Environment, table: bytes) -> list[tuple[bytes, bytes]]:
    transaction = environment.begin()
    try:
        return list(transaction.cursor(environment.tables[table]))
    finally:
        transaction.abort()


# ── stopping and starting ────────────────────────────────────────────────────────────────────


def test_a_store_that_was_stopped_is_one_file_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with opened(path, segment_bytes=SMALL) as environment:
        head = sends(writer(environment), 9)
        assert (path / JOURNAL_FILES[1]).exists()
        fold(environment)
        assert sorted(one.name for one in path.iterdir()) == [
            DATA_FILE,
            "lock.mdb",
            "store.lock",
        ]
        assert len(whole_table(environment, b"log")) == head.server_seq

    found = verify(path)

    assert (found.problems, found.records) == ([], head.server_seq)


def test_a_store_that_was_killed_is_whole_with_its_journal_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with opened(path, segment_bytes=SMALL) as environment:
        head = sends(writer(environment), 9)

    found = verify(path)
    assert (found.problems, found.records) == ([], head.server_seq)
    with opened(path, segment_bytes=SMALL) as environment:
        one = writer(environment)
        assert one.transact([ReadHead(KEY)]) == [head]
        head = sends(one, 9, head)
        fold(environment)
    assert verify(path).records == head.server_seq


def test_a_store_without_the_journal_it_had_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with opened(path) as environment:
        sends(writer(environment), 3)
    (path / JOURNAL_FILES[0]).unlink()

    with pytest.raises(StoreCorruptError, match="its journal lacks"), opened(path):
        pass
    assert verify(path).problems == ["its journal lacks something that was committed"]


def test_files_of_a_journal_beside_a_whole_store_are_not_looked_at(tmp_path: Path) -> None:
    """As when a backup of a stopped store is laid over a store that was killed."""
    path = tmp_path / "store"
    with opened(path) as environment:
        one = writer(environment)
        head = sends(one, 2)
        fold(environment)
        backup = (path / DATA_FILE).read_bytes()
        sends(writer(environment), 2, head)
    (path / DATA_FILE).write_bytes(backup)

    with opened(path) as environment:
        one = writer(environment)
        assert one.transact([ReadHead(KEY)]) == [head]
        assert sends(one, 3, head).server_seq == head.server_seq + 6
    assert verify(path).problems == []


# ── cut off anywhere ─────────────────────────────────────────────────────────────────────────


class Photographer:
    """Copies a store before whatever may change a file of it."""

    def __init__(self, path: Path, albums: Path) -> None:
        self._path = path
        self._albums = albums
        self.acknowledged = 0
        self.pictures: list[tuple[Path, int]] = []

    def take(self) -> None:
        album = self._albums / str(len(self.pictures))
        shutil.copytree(self._path, album)
        self.pictures.append((album, self.acknowledged))

    def watched(self, call: Callable[..., object]) -> Callable[..., object]:
        def watching(*arguments: object) -> object:
            self.take()
            return call(*arguments)

        return watching

    @contextmanager
    def at_work(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            for name in ("pwrite", "fdatasync", "fsync"):
                patch.setattr(os, name, self.watched(getattr(os, name)))
            commit = Environment.begin

            def begin(environment: Environment) -> object:
                return Watched(commit(environment), self)

            patch.setattr(Environment, "begin", begin)
            yield


class Watched:
    """A write transaction whose commit is photographed."""

    def __init__(self, transaction: lmdb.Transaction[bytes], photographer: Photographer) -> None:
        self._transaction = transaction
        self.commit = photographer.watched(transaction.commit)

    def __getattr__(self, name: str) -> object:
        return getattr(self._transaction, name)


def test_cut_off_between_any_two_system_calls_nothing_acknowledged_is_lost(
    tmp_path: Path,
) -> None:
    path = tmp_path / "store"
    photographer = Photographer(path, tmp_path / "albums")
    chance = random.Random(3)
    with opened(path, segment_bytes=SMALL) as environment, photographer.at_work():
        one = writer(environment)
        head = base(KEY)
        for _ in range(6):
            head = sends(one, 1, head)
            photographer.acknowledged = head.server_seq
            for _ in range(chance.randrange(6)):
                assert one.fold() is None
        assert one.finish() is None
        photographer.take()

    assert len(photographer.pictures) > 30
    for picture, acknowledged in photographer.pictures:
        found = verify(picture)
        assert found.problems == [], picture
        assert found.records >= acknowledged, picture
        with opened(picture, segment_bytes=SMALL) as environment:
            one = writer(environment)
            (stored,) = one.transact([ReadHead(KEY)])
            assert isinstance(stored, ConversationHead)
            sends(one, 2, stored)
        assert verify(picture).problems == [], picture


# ── reading meanwhile ────────────────────────────────────────────────────────────────────────


def test_readers_see_every_record_while_rows_move(tmp_path: Path) -> None:
    stop = threading.Event()
    problems: list[object] = []
    sizes: list[int] = []
    with opened(tmp_path / "store", segment_bytes=SMALL, map_size_bytes=1 << 16) as environment:
        one = writer(environment)

        def read() -> None:
            reader = Reader(environment)
            while not stop.is_set():
                page = reader.page(UserId("bob"), GlobalInboxSeq(0), ALL, 10**8)
                states = reader.read_states(UserId("bob"), GlobalInboxSeq(0), None, 100)
                if not isinstance(page, Page) or isinstance(states, Exception):
                    problems.append((page, states))
                    return
                sizes.append(len(page.rows))

        def move() -> None:
            while not stop.is_set():
                failure = one.fold()
                if failure is not None:
                    problems.append(failure)
                    return

        threads = [threading.Thread(target=work) for work in (read, move)]
        for thread in threads:
            thread.start()
        try:
            head = sends(one, 300)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        fold(environment)

    assert problems == []
    assert sizes == sorted(sizes)
    assert verify(tmp_path / "store").records == head.server_seq


def test_a_view_shows_what_is_newest_in_the_order_of_keys_without_what_was_removed(
    tmp_path: Path,
) -> None:
    with opened(tmp_path / "store") as environment:
        table = environment.tables[b"users"]
        transaction = environment.begin()
        for key in (b"a", b"c", b"e", b"g"):
            transaction.put(key, b"table", db=table)
        current = {b"users": {b"b": b"new", b"c": b"new", b"g": None}}
        folding = {b"users": {b"c": b"older", b"d": b"older", b"b": None, b"e": None, b"z": None}}
        view = View((current, folding), transaction, environment.tables)

        assert list(view.range(b"users")) == [
            (b"a", b"table"),
            (b"b", b"new"),
            (b"c", b"new"),
            (b"d", b"older"),
        ]
        assert list(view.range(b"users", b"bb")) == [(b"c", b"new"), (b"d", b"older")]
        assert view.count(b"users") == 4
        assert [view.get(b"users", bytes((key,))) for key in b"abcdefgz"] == [
            *(b"table", b"new", b"new", b"older", None, None, None, None),
        ]
        assert view.last_key(b"users") == b"z"
        transaction.abort()


# ── how it is paced ──────────────────────────────────────────────────────────────────────────


def state(one: Writer) -> tuple[bool, bool]:
    return one.is_folding, one.is_far_behind


def test_commits_go_on_in_one_file_while_the_other_is_folded(tmp_path: Path) -> None:
    with opened(tmp_path / "store", segment_bytes=SMALL) as environment:
        one = writer(environment)
        head = sends(one, 4)
        assert environment.journal.filled > 1
        assert state(one) == (True, False)
        head = sends(one, 20, head)
        assert state(one) == (True, True)

        while one.is_folding:
            assert one.fold() is None

        assert state(one) == (False, False)
        sends(one, 1, head)
        assert state(one) == (True, False), "the journal has turned to its other file"
    assert verify(tmp_path / "store").problems == []


def test_a_checkpoint_moves_on_with_commits_and_ends_before_their_file_is_full(
    tmp_path: Path,
) -> None:
    with opened(tmp_path / "store", segment_bytes=1 << 16) as environment:
        one = writer(environment)
        head = sends(one, 1)
        while state(one) == (False, False):
            head = sends(one, 1, head)

        steps = []  # between commits
        while state(one) == (True, False):
            steps.append(0)
            while one.is_slice_due:
                assert one.fold() is None
                steps[-1] += 1
            assert environment.journal.filled < FOLDED_AT + 0.05
            head = sends(one, 1, head)

        assert not one.is_slice_due
        assert environment.journal.filled > FOLDED_AT / 2
        assert max(steps) <= 3
        assert SLICES / 2 < sum(steps) <= SLICES
    assert verify(tmp_path / "store").records == head.server_seq


def test_a_failed_slice_is_the_failure_of_every_later_transaction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path / "store", segment_bytes=SMALL) as environment:
        one = writer(environment)
        head = sends(one, 9)

        def broken(*_: object) -> None:
            raise lmdb.Error("planted")

        monkeypatch.setattr(environment, "reserve", broken)
        failure = one.fold()

        assert failure is not None
        later: Append = append(KEY, head, [Sent("ann", "later")])
        (outcome,) = one.transact([later])
        assert getattr(outcome, "error", None) is failure
        assert one.fold() is None
        assert one.finish() is None
    assert verify(tmp_path / "store").records == head.server_seq


# ── whole, and not ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("room", [True, False])
def test_a_map_that_is_full_grows_for_the_row_that_says_whether_the_store_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: bool
) -> None:
    path = tmp_path / "store"
    put = put_folded
    refusals = 2

    def full(*arguments: Any) -> None:
        nonlocal refusals
        if refusals:
            refusals -= 1
            raise lmdb.MapFullError("planted")
        put(*arguments)

    with opened(path) as environment:
        one = writer(environment)
        monkeypatch.setattr("storage.environment.put_folded", full)
        if not room:
            monkeypatch.setattr(environment, "grow", lambda: False)
        (outcome,) = one.transact([append(KEY, base(KEY), [Sent("ann", "k")])])
        assert isinstance(outcome, Appended if room else Full)
        assert one.finish() is None
    assert verify(path).problems == []


def test_a_relay_that_stored_nothing_leaves_no_journal_either(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with opened(path) as environment:
        fold(environment)

    assert sorted(one.name for one in path.iterdir()) == [DATA_FILE, "lock.mdb", "store.lock"]


def test_a_journal_that_cannot_be_opened_or_read_is_told_as_every_refusal(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with opened(path) as environment:
        sends(writer(environment), 3)
    (path / JOURNAL_FILES[1]).unlink()
    (path / JOURNAL_FILES[1]).mkdir()

    with pytest.raises(StoreUnavailableError):
        verify(path)
    with pytest.raises(StoreUnavailableError), opened(path):
        pass
    (path / JOURNAL_FILES[1]).rmdir()
    (path / JOURNAL_FILES[1]).touch()
    with opened(path) as environment:
        fold(environment)
        (path / JOURNAL_FILES[1]).mkdir()
        with pytest.raises(StoreUnavailableError):
            writer(environment)
