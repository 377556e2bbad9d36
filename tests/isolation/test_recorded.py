"""What the checker says of recorded experiments is what it said when they were recorded."""

from __future__ import annotations

import lzma
from pathlib import Path

import pytest

from bench.checker.check import Report, check
from tests.isolation.record import (
    ISOLATION,
    MOST_BYTES,
    RECORDED,
    SUFFIX,
    Recording,
    complaint_about,
    read_words,
    recordings,
    words_of,
)

MOST_BYTES_TOGETHER = 1_500_000


def judged(recording: Recording, directory: Path) -> tuple[Report, int]:
    packed = (RECORDED / f"{recording.name}{SUFFIX}").read_bytes()
    history = directory / "history"
    history.write_bytes(lzma.decompress(packed))
    return check(history), len(packed)


@pytest.mark.parametrize("recording", tuple(recordings()), ids=lambda one: one.name)
def test_each_promise_of_a_recorded_experiment_is_judged_as_it_was_then(
    recording: Recording, tmp_path: Path
) -> None:
    report, _ = judged(recording, tmp_path)

    assert words_of(report) == read_words()[recording.name]


@pytest.mark.parametrize("recording", tuple(recordings()), ids=lambda one: one.name)
def test_a_whole_relay_keeps_every_promise_and_a_broken_one_is_caught_by_isolation(
    recording: Recording, tmp_path: Path
) -> None:
    report, size = judged(recording, tmp_path)

    assert complaint_about(recording, report, size) is None
    assert words_of(report)[ISOLATION] == ("ok" if recording.is_whole else "violated")
    assert {"I2", "I3", "I9", "I10", "I14"} <= set(words_of(report)) - set(report.not_exercised)


def test_recordings_are_small_and_there_is_none_that_nobody_judges() -> None:
    files = {path.name: path.stat().st_size for path in RECORDED.iterdir()}

    assert set(files) == {f"{one.name}{SUFFIX}" for one in recordings()} | {"verdicts.json"}
    assert max(files.values()) <= MOST_BYTES
    assert sum(files.values()) <= MOST_BYTES_TOGETHER
    assert set(read_words()) == {one.name for one in recordings()}
