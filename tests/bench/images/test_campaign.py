"""Recordings, images and progress: whatever was found can be had again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trio

from bench.images import campaign as campaigns
from bench.images.campaign import Campaign, Failure, read_progress
from bench.images.command import app, command_of
from bench.images.recorder import record
from bench.images.recording import Recording, read_recording, write_recording
from bench.images.rounds import examine_images, examine_one, moments_of
from bench.images.store_files import read_files

pytestmark = pytest.mark.usefixtures("strace")

SOME = 30


@pytest.fixture(scope="module")
def recording(strace: None, tmp_path_factory: pytest.TempPathFactory) -> Recording:
    return record(1, tmp_path_factory.mktemp("recording"), lives=2)


def test_a_recording_is_read_as_it_was_written(tmp_path: Path, recording: Recording) -> None:
    write_recording(recording, tmp_path / "one.recording")

    assert read_recording(tmp_path / "one.recording") == recording


def test_one_image_is_the_same_each_time(tmp_path: Path, recording: Recording, little: Any) -> None:
    last = len(recording.events)

    images = [examine_one(recording, round_, last // 2, tmp_path) for round_ in (0, 0, 1, 2, 3)]

    assert images[0] == images[1]
    assert any(image != images[0] for image in images[2:])


def test_images_are_counted_over_all_rounds(
    tmp_path: Path, recording: Recording, little: Any
) -> None:
    in_a_round = len(moments_of(recording))

    found = list(examine_images(recording, in_a_round - 2, in_a_round + 2, tmp_path / "image"))

    assert [one.round for one in found] == [0, 0, 1, 1]
    assert [one.moment for one in found] == [
        *moments_of(recording)[-2:],
        *moments_of(recording)[:2],
    ]


def test_a_campaign_that_was_interrupted_goes_on_where_it_was(
    tmp_path: Path, recording: Recording
) -> None:
    first = Campaign(tmp_path, [1], SOME)
    write_recording(recording, first.file_of(1))
    trio.run(first.run, 1)

    second = Campaign(tmp_path, [1], 2 * SOME)
    assert second.examined == SOME
    trio.run(second.run, 1)

    assert second.examined == 2 * SOME
    assert read_progress(tmp_path)[1].examined == 2 * SOME


def test_an_image_that_ends_the_process_has_failed_and_the_next_is_examined(
    tmp_path: Path, recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    dying = (
        "import os, signal, sys; begin, end = map(int, sys.argv[3:])\n"
        "for n in range(begin, end):\n"
        "    if n == 3: os.kill(os.getpid(), signal.SIGSEGV)\n"
        "    print(0, n, '', sep='\\t', flush=True)\n"
    )
    monkeypatch.setattr(campaigns, "WORKER", (sys.executable, "-c", dying))
    campaign = Campaign(tmp_path, [1], 6)
    write_recording(recording, campaign.file_of(1))

    trio.run(campaign.run, 1)

    assert campaign.examined == 6
    (failure,) = campaign.progress[1].failures
    assert (failure.round, failure.moment) == (0, moments_of(recording)[3])
    assert "signal 11" in failure.problem


def test_the_command_that_is_told_of_a_failure_has_that_image_again(
    tmp_path: Path, recording: Recording
) -> None:
    file = tmp_path / "recording-1.recording"
    write_recording(recording, file)
    moment = len(recording.events)
    told = command_of(file, Failure(0, moment, "?")).split()

    again = subprocess.run(
        [sys.executable, *told[1:], "--keep", str(tmp_path / "kept")],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (again.returncode, again.stdout) == (0, "all is well\n")
    assert "data.mdb" in read_files(tmp_path / "kept")


def test_the_command_examines_as_many_as_it_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--images", "10", "--recordings", "1", "--workers", "1", "--out", str(tmp_path)]

    assert app(words, result_action="return_value") == 0

    assert "10 images examined, 0 failed" in capsys.readouterr().err
