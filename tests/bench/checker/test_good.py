"""A good history passes, every promise exercised, in both forms and from any seed."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import msgspec
import pytest
from msgspec import Struct

from bench.checker import loading, reading
from bench.checker.check import LOADING, check, judge
from bench.checker.invariants import ALL
from bench.checker.loading import story_of
from bench.checker.records import Record
from tests.bench.checker.tale import Tale, told


@pytest.mark.parametrize("seed", range(4))
def test_a_good_history_passes_with_every_promise_exercised(seed: int, tmp_path: Path) -> None:
    report = judge(story_of(*told(tmp_path, seed)))

    assert [(one.invariant, one.excerpt) for one in report.verdicts if one.violations] == []
    assert report.not_exercised == ()
    assert report.ok


def test_both_forms_tell_the_same(tmp_path: Path) -> None:
    binary, lines = tmp_path / "history", tmp_path / "history.jsonl"
    for path in (binary, lines):
        Tale(path, 5).tell(120)

    assert lines.read_bytes()[:1] == b"{"
    assert check(binary) == check(lines)


@pytest.mark.parametrize("form", ["history", "history.jsonl"])
def test_who_waits_for_the_verdict_is_told_how_far_it_is(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / form
    Tale(path, 5).tell(120)
    monkeypatch.setattr(loading, "RECORDS_BETWEEN", 100)
    monkeypatch.setattr(reading, "PIECE_BYTES", 1_000)
    shares: list[float] = []

    report = check(path, shares.append)

    assert report == check(path)
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, 1.0)
    while_reading = [share for share in shares if 0.0 < share < LOADING]
    assert len(while_reading) > 3
    assert len([share for share in shares if share > LOADING]) >= len(ALL)


def test_the_promises_are_those_of_the_programme() -> None:
    names = [one.name for one in ALL]

    assert names == [f"I{number}" for number in (*range(1, 15), 17, 18, 21, 23)]


def test_the_page_on_histories_names_every_record_and_every_promise() -> None:
    page = (Path(__file__).parents[3] / "docs" / "history.md").read_text()

    for record in get_args(Record):
        assert f"`{_shape(record)}`" in page
    for invariant in ALL:
        assert f"| {invariant.name} | {invariant.promise} |" in page


def _shape(record: type[Struct]) -> str:
    """A record as the page shows it: its kind, its fields, its defaults."""
    fields = [f'"{record.__struct_config__.tag}"']
    for field in msgspec.structs.fields(record):
        is_needed = field.default is msgspec.NODEFAULT
        fields.append(field.name if is_needed else f"{field.name}={_json(field.default)}")
    return f"[{', '.join(fields)}]"


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
