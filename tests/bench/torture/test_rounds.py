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
SAMPLE = ("kill", "kill-commit", "kill-opening")
"""One or two of each sort: all of them take minutes."""


def played(fault: str, directory: Path, *, program: Sequence[str] | None = None) -> Played:
    """One round that strikes once or twice."""
    chosen = FAULTS[fault]
    if program is not None:
        chosen = replace(chosen, program=lambda _: program)
    return asyncio.run(play(chosen, SEED, 0, directory, strikes=2))


@pytest.mark.parametrize("fault", SAMPLE)
def test_a_relay_comes_through_every_fault(fault: str, tmp_path: Path) -> None:
    one = played(fault, tmp_path)

    assert one.failure is None
    assert one.skipped is None
    assert one.acks == one.examined["I1"] > 0
    assert one.records > 0
    assert all(one.examined[promise] for promise in ("I2", "I5", "I6", "I9", "I10", "I12", "I13"))
    assert len(one.starts) >= 3


def test_a_relay_that_loses_what_it_has_acked_does_not(tmp_path: Path) -> None:
    (tmp_path / "world").mkdir()
    (tmp_path / "round").mkdir()
    plant = "a_restart_takes_commits_back"
    program = (sys.executable, "-m", "tests.faults.launcher", str(tmp_path / "world"), plant)

    one = played("kill", tmp_path / "round", program=program)

    assert one.failure is not None
    assert "I11" in one.failure
