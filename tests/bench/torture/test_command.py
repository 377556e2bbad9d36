"""The command: what it tells, what it exits with, and that it leaves nothing behind."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.torture import command
from bench.torture.errors import BrokenError
from bench.torture.fault import Fault
from bench.torture.faults import FAULTS
from bench.torture.scene import Scene
from bench.torture.summary import Summary, summed_up
from tests.wire.relay_process import REPOSITORY

WAIT_SECONDS = 60.0


async def breaks(scene: Scene) -> None:  # noqa: ASYNC124 - a strike is awaited
    """It finds something broken, always."""
    scene.tally["kills"] += 1
    raise BrokenError("it was seen")


async def never(scene: Scene) -> None:  # noqa: ASYNC124 - a strike is awaited
    """It is never played."""
    raise AssertionError


@pytest.fixture(autouse=True)
def two_more_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that always finds something, and one that cannot be had."""
    monkeypatch.setitem(FAULTS, "breaks", Fault(name="breaks", strike=breaks))  # type: ignore[arg-type]
    absent = Fault(name="absent", strike=never, lacks=lambda: "it needs a dragon")
    monkeypatch.setitem(FAULTS, "absent", absent)  # type: ignore[arg-type]


def test_every_fault_says_what_it_does_and_has_a_name_of_its_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command.torture(faults=True) == 0

    told = capsys.readouterr().out
    for name, fault in FAULTS.items():
        assert fault.name == name
        assert fault.says
        assert f"\n{name}" in f"\n{told}"


def test_a_fault_that_there_is_not_is_a_wrong_command_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command.torture(only=("kill", "nonsense")) == 2
    assert "nonsense: not one of kill," in capsys.readouterr().err


def test_a_fault_that_cannot_be_had_is_skipped_and_says_why(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert command.torture(minutes=0.001, only=("absent",), out=tmp_path) == 0

    assert "skipped: it needs a dragon" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


@pytest.mark.timeout(120)
def test_a_round_that_is_broken_keeps_its_evidence_and_says_how_to_play_it_again(
    capsysbinary: pytest.CaptureFixture[bytes], tmp_path: Path
) -> None:
    only = ("breaks", "absent")
    assert command.torture(round_number=4, only=only, seed=9, out=tmp_path, json=True) == 1

    told = capsysbinary.readouterr()
    summary = json.loads(told.out)
    again = "python -m bench.torture --only breaks --seed 9 --round 4 --keep"
    assert summary["ok"] is False
    assert summary["failures"] == [again]
    assert summary["rounds"] == summary["kills"] == 1
    assert [one["skipped"] for one in summary["faults"]] == ["it needs a dragon", None]
    assert b"BROKEN: it was seen" in told.err
    assert again.encode() in told.err
    assert (tmp_path / "breaks-4" / "history").exists()
    assert (tmp_path / "breaks-4" / "log").exists()


def test_without_a_round_there_is_nothing_to_sum_up() -> None:
    summary = summed_up(1, 0.0, [], [])

    assert summary == Summary(1, 0.0, True, 0, 0, 0, {}, (), None, (), ())


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_told_to_end_it_ends_what_it_has_started_and_tells_of_the_rounds_before(
    number: signal.Signals, tmp_path: Path
) -> None:
    words = [sys.executable, "-m", "bench.torture", "--only", "kill", "--out", str(tmp_path)]
    process = subprocess.Popen(
        words, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    until((tmp_path / "kill-0" / "ports.json").exists)
    assert processes_of(tmp_path) > 1

    process.send_signal(number)
    output, errors = process.communicate(timeout=WAIT_SECONDS)

    assert process.returncode == command.INTERRUPTED
    assert b"0 rounds" in output
    assert errors == b""
    assert processes_of(tmp_path) == 0
    assert not list(tmp_path.iterdir())


def processes_of(directory: Path) -> int:
    """How many processes name it on their command line."""
    found = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            found += str(directory).encode() in (process / "cmdline").read_bytes()
        except OSError:
            continue  # it has ended meanwhile
    return found


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that another process does."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it does not come"
        time.sleep(0.02)
