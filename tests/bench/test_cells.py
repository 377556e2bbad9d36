"""The cells are measured in turns and compared within their rounds, and a page shows them."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from bench import cells
from bench.cells import CellName, Wanted, measure_cells, shape_of
from bench.cells_result import CellsResult, Failure, cell_of, lmdb_beside
from bench.cells_section import cells_section
from bench.lmdb_alone import LmdbReport
from bench.ordering import OrderingReport
from bench.pages.report import report_html
from bench.pages.result import read_result
from bench.run import RunError
from bench.sections import shown
from bench.shape import Shape
from bench.spread import Spread
from tests.bench.made_up import ordering_report
from tests.wire.relay_process import REPOSITORY

WANTED = Wanted(2, 1.0, 0.5, 300, 7)


def test_a_ratio_is_to_the_plain_cell_of_the_same_round() -> None:
    ours, plain = [ordering_report(rate) for rate in (50.0, 30.0, 90.0)], [100.0, 10.0, 100.0]

    cell = cell_of("hot", ours, [ordering_report(rate) for rate in plain])

    assert cell.ratio == Spread(0.9, 0.5, 3.0)
    assert cell.acked_per_s == Spread(50.0, 30.0, 90.0)
    assert cell.no_ratio is None


@pytest.mark.parametrize("bound_side", [0, 1])
def test_a_busy_generator_on_either_side_of_any_round_gives_no_ratio(bound_side: int) -> None:
    good, bound = ordering_report(50.0), ordering_report(50.0, generator_bound=True)
    sides = [[good, good], [good, good]]
    sides[bound_side][1] = bound

    cell = cell_of("hot", *sides)

    assert (cell.ratio, cell.no_ratio) == (None, "GENERATOR_BOUND")


def test_where_the_plain_cell_acked_nothing_there_is_no_ratio() -> None:
    cell = cell_of("hot", [ordering_report(50.0)], [ordering_report(0.0)])

    assert (cell.ratio, cell.no_ratio) == (None, "NOTHING_ACKED")


def lmdb(messages_per_s: float) -> LmdbReport:
    return LmdbReport(100, 16, 300, 9, 1.0, messages_per_s, 5 * messages_per_s)


def test_lmdb_alone_is_beside_the_plain_cell_of_the_same_round() -> None:
    plain, alone = [ordering_report(50.0), ordering_report(90.0)], [lmdb(100.0), lmdb(300.0)]
    bound = ordering_report(50.0, generator_bound=True)

    beside = lmdb_beside(alone, plain)
    beside_bound = lmdb_beside(alone, [plain[0], bound])

    assert beside is not None
    assert beside_bound is not None
    assert beside.ratio == Spread(0.4, 0.3, 0.5)
    assert (beside_bound.ratio, beside_bound.no_ratio) == (None, "GENERATOR_BOUND")


def test_every_cell_has_a_load_of_its_own_and_all_take_as_long() -> None:
    shapes = {name: shape_of(name, WANTED) for name in get_args(CellName)}

    assert len(set(shapes.values())) == len(shapes)
    assert {(one.seconds, one.warm_up_seconds) for one in shapes.values()} == {(1.0, 0.5)}
    assert shapes["zipf"].conversations == 100_000
    assert shapes["zipf"].seed == 7
    assert shapes["sync"].sync_delay_ms == 5.0


def test_cells_are_measured_in_turns_to_and_fro(monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[Shape] = []

    def measure(shape: Shape) -> OrderingReport:
        measured.append(shape)
        return ordering_report(float(len(measured)), is_good=len(measured) != 3)

    monkeypatch.setattr(cells, "measure_own_relay", measure)
    monkeypatch.setattr(cells, "measure_lmdb_alone", lambda run: lmdb(run.acked_per_s * 2))

    result = measure_cells(WANTED, ["16x16", "json"])

    plain, json = shape_of("16x16", WANTED), shape_of("json", WANTED)
    assert measured == [plain, json, json, plain]
    assert [[run.acked_per_s for run in cell.runs] for cell in result.cells] == [[1, 4], [2, 3]]
    assert result.lmdb_alone is not None
    assert [run.messages_per_s for run in result.lmdb_alone.runs] == [2, 8]
    assert not result.is_good
    assert result.cells[0].is_good


def test_a_run_that_fails_is_told_and_what_is_finished_is_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    count = itertools.count(1)

    def measure(shape: Shape) -> OrderingReport:
        number = next(count)
        if number in (2, 4):  # json in the first round, 16x16 in the second
            raise RunError(f"no run {number}")
        return ordering_report(100.0 * number)

    monkeypatch.setattr(cells, "measure_own_relay", measure)
    monkeypatch.setattr(cells, "measure_lmdb_alone", lambda _: lmdb(400.0))

    code = cells.cells(rounds=2, cell=("json",), out=tmp_path)

    result = msgspec.json.decode(read_result(tmp_path / "result.json").report, type=CellsResult)
    assert code == 1
    assert result.failures == (Failure(1, "json", "no run 2"), Failure(2, "16x16", "no run 4"))
    assert [[run.acked_per_s for run in one.runs] for one in result.cells] == [[100], [300]]
    assert [one.no_ratio for one in result.cells] == [None, "NOTHING_BESIDE"]
    assert result.lmdb_alone is not None
    assert result.lmdb_alone.ratio == Spread(0.25, 0.25, 0.25)
    told = capsys.readouterr().out
    assert "json failed in round 1: no run 2." in told
    assert "16x16 failed in round 2: no run 4." in (tmp_path / "report.html").read_text()


def test_what_only_lmdb_failed_at_is_kept_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: OrderingReport) -> LmdbReport:
        raise RunError("no room")

    monkeypatch.setattr(cells, "measure_own_relay", lambda _: ordering_report(200.0))
    monkeypatch.setattr(cells, "measure_lmdb_alone", fail)

    result = measure_cells(WANTED, ["16x16"])

    assert result.lmdb_alone is None
    assert [one.cell for one in result.failures] == ["LMDB alone"] * 2
    assert len(result.cells[0].runs) == 2
    assert "no room" in "".join(part.html for part in cells_section(result).content)


def test_where_nothing_could_be_measured_there_is_no_result(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure(shape: Shape) -> OrderingReport:
        raise RunError("no disk")

    monkeypatch.setattr(cells, "measure_own_relay", measure)

    assert cells.cells(rounds=1, cell=("json",), out=tmp_path) == 1
    assert "no disk" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_page_shows_every_cell_and_loads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    bound = [ordering_report(300.0, generator_bound=True)]
    monkeypatch.setattr(cells, "measure_own_relay", lambda _: ordering_report(200.0))
    monkeypatch.setattr(cells, "measure_lmdb_alone", lambda _: lmdb(400.0))
    result = measure_cells(WANTED, ["16x16", "hot"])
    result = msgspec.structs.replace(
        result, cells=(*result.cells, cell_of("json", bound, [ordering_report(200.0)]))
    )

    section = cells_section(result)
    page = "".join(part.html for part in section.content)

    assert section == cells_section(result)
    for text in (
        "16x16",
        "hot",
        "json",
        "GENERATOR_BOUND",
        "200 · 200 … 200",
        "1.00 · 1.00 … 1.00",
        "16x16 to it: 0.50",
    ):
        assert text in page
    (picture,) = section.pictures
    assert b"<svg" in picture.svg
    assert section.is_good


def test_a_round_is_run_judged_and_written_down(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    short = ("--rounds", "1", "--seconds", "0.3", "--warm-up", "0.1", "--size", "64")
    finished = subprocess.run(
        [sys.executable, "-m", "bench.cells", *short, "--cell", "16x1", "--out", out, "--json"],
        cwd=REPOSITORY,
        capture_output=True,
        timeout=120,
        check=False,
    )

    assert finished.returncode == 0, finished.stderr
    left = read_result(out / "result.json")
    result = msgspec.json.decode(left.report, type=CellsResult)
    assert msgspec.json.decode(finished.stdout, type=CellsResult) == result
    assert [cell.name for cell in result.cells] == ["16x16", "16x1"]
    assert all(cell.acked_per_s.lowest > 0 for cell in result.cells)
    assert all(run.checker.ok for cell in result.cells for run in cell.runs)
    assert result.lmdb_alone is not None
    (alone,) = result.lmdb_alone.runs
    assert alone.records_per_commit == round(result.cells[0].runs[0].messages_per_commit or 0) > 1
    assert (alone.conversations, alone.size) == (16, 64)
    assert left.kind == "cells"
    assert "--rounds 1" in left.command
    assert "--cell 16x1" in left.command
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page == report_html([shown(left)])
    # Names of namespaces are the only addresses.
    assert not re.search(r"<script|<img|(src|href)=\"(?!#)", page)
    assert (out / "cells.png").read_bytes().startswith(b"\x89PNG")
