"""The growth benchmark, run as people run it, and what of it can be counted by hand."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from bench.growth import PAIRS, GrowthShape, growth_keys
from bench.pages.report import report_html
from bench.pages.result import read_result
from bench.sections import shown
from tests.wire.relay_process import PROGRAM, REPOSITORY


def growth(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, "bench", "growth", *arguments],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


def test_every_size_is_started_on_written_to_judged_and_shown(tmp_path: Path) -> None:
    sizes = "--conversations", "40,4", "--records", "400"
    finished = growth(*sizes, "--seconds", "0.2", "--json", "--out", str(tmp_path))
    assert finished.returncode == 0, finished.stderr
    cells = json.loads(finished.stdout)["cells"]

    measured = [(cell["conversations"], cell["records"], cell["pairs"]) for cell in cells]
    assert measured == [(4, 400, 4), (40, 400, PAIRS)]
    for cell in cells:
        assert cell["start_seconds"] > 0
        assert 1_000 < cell["own_loaded_kib"] < cell["rss_loaded_kib"]
        assert cell["wall_us_per_message"] == pytest.approx(1e6 / cell["acked_per_s"], abs=0.1)
        assert cell["checker"]["ok"] is True
        assert cell["checker"]["sends"] > 0
    left = read_result(tmp_path / "result.json")
    assert left.kind == "growth"
    assert json.loads(bytes(left.report))["cells"] == cells
    assert f"bench growth {' '.join(sizes)}" in left.command
    assert (tmp_path / "report.html").read_text() == report_html([shown(left)])
    for name in ("growth-cost", "growth-start"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert b"<svg" in (tmp_path / f"{name}.svg").read_bytes()


def test_sizes_that_cannot_be_are_said_so() -> None:
    finished = growth("--conversations", "10", "--records", "5")

    assert (finished.returncode, finished.stdout) == (1, "")
    assert "fewer records than conversations" in finished.stderr


@pytest.mark.parametrize("said", ["1,,2", "0"])
def test_a_list_that_is_none_is_refused(said: str) -> None:
    finished = growth(f"--records={said}")

    assert finished.returncode == 2
    assert "--records" in finished.stderr
    assert "Traceback" not in finished.stderr


def test_sizes_come_smallest_first_and_none_has_a_conversation_without_a_record() -> None:
    shape = GrowthShape((100, 10), (1_000, 50), 1, 1.0)

    assert shape.cells == [(10, 50), (10, 1_000), (100, 1_000)]


def test_the_conversations_are_shared_evenly_by_the_pairs() -> None:
    keys = growth_keys(12, pairs=4)

    assert len(set(keys)) == 12
    assert {(key.low, key.high): sum(k[1:] == key[1:] for k in keys) for key in keys} == {
        (f"growth-{2 * pair}", f"growth-{2 * pair + 1}"): 3 for pair in range(4)
    }
