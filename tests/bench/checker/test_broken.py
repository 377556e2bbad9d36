"""The checker is itself checked: each planted fault is found by name, and nothing else is."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.checker.check import Report, judge
from bench.checker.invariants import ALL
from bench.checker.loading import story_of
from tests.bench.checker.planted import MAY_BREAK, PLANTED
from tests.bench.checker.tale import Tale, told


def judged(directory: Path, seed: int, tale: type[Tale]) -> Report:
    return judge(story_of(*told(directory, seed, tale=tale)))


@pytest.mark.parametrize("tale", PLANTED, ids=lambda tale: tale.__name__)
def test_a_planted_fault_is_found_by_those_promises_that_it_breaks(
    tale: type[Tale], tmp_path: Path
) -> None:
    report = judged(tmp_path, 3, tale)

    assert set(report.violated) - MAY_BREAK.get(tale, set()) == PLANTED[tale]
    assert not report.ok
    for verdict in report.verdicts:
        assert bool(verdict.excerpt) == (verdict.verdict == "violated")
        assert len(verdict.excerpt) <= 6


@settings(max_examples=20, deadline=None)
@given(tale=st.sampled_from(list(PLANTED)), seed=st.integers(0, 2**32))
def test_a_fault_in_any_history_is_found(tale: type[Tale], seed: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        report = judged(Path(name), seed, tale)

    assert set(report.violated) - MAY_BREAK.get(tale, set()) == PLANTED[tale]


def test_every_promise_has_a_fault_that_breaks_it() -> None:
    broken = set().union(*PLANTED.values())

    assert broken == {one.name for one in ALL}
