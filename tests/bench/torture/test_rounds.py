"""Rounds of the torture: a whole relay comes through them, and a broken one does not."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from bench.torture.faults import FAULTS
from bench.torture.round import Played, play

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

SEED = 6
SAMPLE = {
    "kill": 2,
    "kill-commit": 2,
    "kill-opening": 1,
    "eio-commit": 2,
    "hanging-sync": 1,
    "term": 1,
    "flips": 40,
}
"""One or two of each sort, and how often each strikes: all of them take minutes."""


def played(
    fault: str, directory: Path, strikes: int, *, program: Sequence[str] | None = None
) -> Played:
    """One short round."""
    chosen = FAULTS[fault]
    if program is not None:
        chosen = replace(chosen, program=lambda _: program)
    return asyncio.run(play(chosen, SEED, 0, directory, strikes=strikes))


@pytest.mark.parametrize(("fault", "strikes"), SAMPLE.items())
def test_a_relay_comes_through_it(fault: str, strikes: int, tmp_path: Path) -> None:
    one = played(fault, tmp_path, strikes)

    if one.skipped is not None:
        pytest.skip(one.skipped)
    assert one.failure is None
    assert sum(one.done.values()) >= strikes
    assert one.acks == one.examined["I1"] > 0
    assert one.records > 0
    assert all(one.examined[promise] for promise in ("I2", "I6", "I9", "I10", "I12", "I13"))
    assert one.recovered_seconds is not None


def test_a_relay_that_loses_what_it_has_acked_does_not(tmp_path: Path) -> None:
    (tmp_path / "world").mkdir()
    (tmp_path / "round").mkdir()
    plant = "a_restart_takes_commits_back"
    program = (sys.executable, "-m", "tests.faults.launcher", str(tmp_path / "world"), plant)

    one = played("kill", tmp_path / "round", 1, program=program)

    assert one.failure is not None
    assert "I11" in one.failure
