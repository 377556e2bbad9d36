"""A store is looked at from outside: the same rows give the same digests, and damage is found."""

from __future__ import annotations

from pathlib import Path

from bench.torture.examining import Examiner, examine
from storage.journal import JOURNAL_FILES
from storage.log import Appended
from tests.storage.world import Sent, append, base, conversation, head_after, opened, writer

FLIPS = 400


def filled(store: Path, *, folded: bool, appends: int = 12) -> None:
    """A few conversations, each append a frame of its own."""
    with opened(store) as environment:
        one = writer(environment)
        for number in range(3):
            key = conversation(f"ann-{number}", f"bob-{number}")
            head = base(key)
            for step in range(appends // 3):
                batch = append(key, head, [Sent(f"ann-{number}", f"key-{step}", bytes(300))])
                (outcome,) = one.transact([batch])
                assert isinstance(outcome, Appended)
                head = head_after(batch)
        if folded:
            assert one.finish() is None


def test_a_sound_store_has_no_problems_and_every_table(tmp_path: Path) -> None:
    filled(tmp_path, folded=True)

    told = examine(tmp_path)

    assert told.problems == ()
    assert told.records == 12
    assert {"log", "keys", "inbox", "heads", "meta"} <= told.tables.keys()
    assert told.frames == 0


def test_rows_are_the_same_whether_they_are_folded_or_not(tmp_path: Path) -> None:
    for name, folded in (("folded", True), ("not", False)):
        filled(tmp_path / name, folded=folded)

    one, other = examine(tmp_path / "folded"), examine(tmp_path / "not")

    assert other.frames == 12
    for table in ("log", "keys", "inbox", "heads", "users"):
        assert one.tables[table] == other.tables[table], table


def test_a_journal_can_be_looked_at_as_if_its_last_frames_had_not_been_written(
    tmp_path: Path,
) -> None:
    filled(tmp_path / "all", folded=False)
    filled(tmp_path / "fewer", folded=False, appends=9)

    told = examine(tmp_path / "all", shorter=2)

    assert len(told.shorter) == 2
    assert told.shorter[0]["log"] != told.tables["log"] != told.shorter[1]["log"]
    assert told.shorter[0]["log"] != told.shorter[1]["log"]


def test_a_journal_that_has_lost_a_file_is_a_problem(tmp_path: Path) -> None:
    filled(tmp_path, folded=False)
    (tmp_path / JOURNAL_FILES[1]).unlink()

    assert "its journal lacks something" in examine(tmp_path).problems[0]


def test_the_process_that_looks_is_asked_as_often_as_one_likes(tmp_path: Path) -> None:
    filled(tmp_path, folded=True)

    with Examiner() as examiner:
        answers = [examiner.ask(tmp_path) for _ in range(3)]

    assert answers == [examine(tmp_path)] * 3


def test_where_it_dies_that_is_told_and_the_next_one_is_asked(tmp_path: Path) -> None:
    filled(tmp_path, folded=True)
    with Examiner() as examiner:
        assert examiner.ask(tmp_path) is not None
        assert examiner._process is not None
        examiner._process.kill()
        examiner._process.wait()

        assert examiner.ask(tmp_path) is None
        assert examiner.ask(tmp_path) == examine(tmp_path)
