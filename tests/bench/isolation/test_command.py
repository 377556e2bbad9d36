"""The experiment, run as people run it. Nothing here says how fast a relay has to be."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bench.checker.loading import load
from bench.checker.reading import opened
from bench.isolation.bundle import read_bundle
from bench.isolation.experiment import Experiment
from bench.isolation.findings import Findings
from bench.isolation.measuring import timeline_of, windows_of
from bench.isolation.timeline import Moment
from bench.places import IN_MEMORY
from relay.cli import run
from relay.exits import ExitCode
from tests.wire.relay_process import PROGRAM, REPOSITORY

SMALL = ("--conversations", "10", "--victims", "2", "--quick", "--rate", "150")
ORDER = {"I1", "I2", "I3", "I4", "I6", "I7", "I8", "I9", "I10", "I12", "I14"}


def isolation(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*PROGRAM, "bench", "isolation", *arguments],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def findings_of(fault: str, out: Path) -> dict[str, Any]:
    process = isolation(
        "--fault", fault, *SMALL, "--seconds", "3", "--seed", "5", "--out", str(out), "--json"
    )
    printed, complained = process.communicate(timeout=180)
    assert process.returncode == ExitCode.OK, complained + printed
    found = json.loads(printed)
    assert (found["conclusion"], found["ok"]) == ("quick run, no result", True)
    words = {one["invariant"]: one["verdict"] for one in found["checker"]["verdicts"]}
    assert {name for name, verdict in words.items() if verdict == "violated"} <= {"I17"}
    assert {name for name, verdict in words.items() if verdict == "ok"} >= ORDER
    return found


def test_a_flood_breaks_no_promise_and_its_findings_are_what_programs_rely_on(
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    found = findings_of("flood", out)

    assert found["victims"]["conversations"] == 2
    assert found["victims"]["sends"] > 0
    assert found["bystanders"]["conversations"] == 8
    assert found["bystanders"]["samples"] > 50
    assert found["flooder_cpu"] > 0
    # What programs rely on:
    assert list(found) == list(Findings.__struct_fields__)
    assert {"bystanders", "victims", "restarts", "quarantines", "checker", "ok"} <= set(found)
    assert {"baseline_p99_ms", "fault_p99_ms", "ratio", "worst_ms"} <= set(found["bystanders"])
    assert (type(found["restarts"]), type(found["quarantines"])) == (int, int)
    # What somebody who has only the history needs to know:
    with opened(out / "history") as history:
        said = history.header.configuration
    assert (history.header.seed, said["fault"], said["rate_per_s"]) == (5, "flood", 150.0)
    assert set(Experiment.__struct_fields__) <= set(said)
    assert (out / "experiment.json").exists()


def test_stuck_readers_are_cut_off_and_come_back_to_everything(tmp_path: Path) -> None:
    out = tmp_path / "out"
    found = findings_of("stuck-reader", out)
    moments = msgspec.json.decode((out / "moments.json").read_bytes(), type=list[Moment])
    timeline = timeline_of(out / "history", moments)
    baseline, struck = windows_of(load(out / "history"))

    assert len(struck.victims) == 2
    assert baseline.victims == struck.victims  # the others are compared with themselves
    assert [one.what for one in moments].count("cut off") >= 2
    assert all(timeline.phases["fault"].began_s <= one.at_s for one in moments)
    assert len(timeline.bystanders.ack_ms) == len(timeline.bystanders.delivery_ms) > 100
    assert found["victims"]["acked"] == found["victims"]["sends"] > 0


def test_crash_looping_conversations_are_restarted_and_quarantined(tmp_path: Path) -> None:
    found = findings_of("crash-loop", tmp_path / "out")

    assert found["restarts"] > 0
    assert found["quarantines"] > 0
    assert found["dead_letters"] > 0
    assert found["time_to_restart"]["p50_ms"] <= found["time_to_restart"]["worst_ms"]
    assert found["victims"]["availability"] < 1
    assert found["victims"]["refused"] > 0


# ── what is no experiment ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--fault", "flood", "--seconds", "30"), "30 s are too short for a result"),
        (("--fault", "flood", "--victims", "10", "--conversations", "10"), "leave no bystanders"),
        (
            (
                "--fault",
                "gremlins",
            ),
            "gremlins",
        ),
        (("--fault", "flood", "--quick", "--seconds", "2"), "Must be >= 3"),
        (("--fault", "flood", "--rate", "1e6", "--seconds", "60"), "too many to be judged"),
        (("--fault", "slow-sync", "--victims", "3"), "slow-sync has no --victims"),
        ((), "--fault"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error_that_leaves_nothing(
    tmp_path: Path, arguments: tuple[str, ...], complaint: str
) -> None:
    process = isolation(*arguments, "--out", str(tmp_path / "out"))
    _, complained = process.communicate(timeout=60)

    assert process.returncode == ExitCode.USAGE
    assert complaint in complained
    assert not (tmp_path / "out").exists()


def test_a_directory_in_which_there_is_something_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    process = isolation("--fault", "flood", *SMALL, "--out", str(tmp_path))
    _, complained = process.communicate(timeout=60)

    assert process.returncode == ExitCode.USAGE
    assert "not empty" in complained
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("precious", "mine")]


def under_way(out: Path, *options: str, seconds: int = 60) -> subprocess.Popen[str]:
    lasting = ("--seconds", str(seconds), "--out", str(out))
    process = isolation("--fault", "flood", *SMALL, *lasting, *options)

    def is_loaded() -> bool:
        assert process.poll() is None
        return any("bench.isolation.load" in words for _, words in _alive_in_session(process.pid))

    eventually(is_loaded)
    return process


def eventually(is_so: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def relays_of(process: subprocess.Popen[str]) -> list[tuple[int, list[str]]]:
    return [(one, words) for one, words in _alive_in_session(process.pid) if "serve" in words]


def test_an_interrupt_leaves_no_process_and_nothing_that_looks_like_a_result(
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    process = under_way(out)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    complained = last_words_of(process)

    assert process.returncode == 130
    assert "Traceback" not in complained
    assert list(out.iterdir()) == []
    assert_no_process_of(process)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_who_is_told_to_end_ends_the_relay_that_it_has_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    process = under_way(tmp_path / "out")
    process.send_signal(number)  # it alone is told, as by `timeout`
    complained = last_words_of(process)

    assert (process.returncode, complained) == (128 + number, "")
    assert list((tmp_path / "out").iterdir()) == list(temporary.iterdir()) == []
    assert_no_process_of(process)


def test_a_store_in_memory_is_there_and_is_gone_afterwards(tmp_path: Path) -> None:
    process = under_way(tmp_path / "out", "--in-memory", seconds=3)
    ((_, words),) = relays_of(process)
    store = Path(words[words.index("--data") + 1])
    was_there = store.is_dir()
    complained = last_words_of(process)
    provenance = read_bundle(tmp_path / "out").provenance

    assert process.returncode == ExitCode.OK, complained
    assert store.is_relative_to(IN_MEMORY)
    assert was_there
    assert not store.parent.exists()
    assert provenance.experiment.in_memory
    assert provenance.machine.file_system == "tmpfs"


def test_a_store_for_which_there_is_no_room_in_memory_is_told_before_anything_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("bench.places.ROOM_FOR_STORE_BYTES", 1 << 60)
    out = tmp_path / "out"
    code = run(["bench", "isolation", "--fault", "flood", *SMALL, "--in-memory", "--out", str(out)])

    assert code == ExitCode.FAILED
    assert "no file system in memory with 1073741824 GiB free" in capfd.readouterr().err
    assert list(out.iterdir()) == []


def test_a_relay_that_dies_before_the_load_has_come_is_named_as_the_reason(tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    process = isolation("--fault", "flood", *SMALL, "--seconds", "3", "--out", out)
    eventually(lambda: relays_of(process))
    process.send_signal(signal.SIGSTOP)  # so that there is no load yet
    ((relay, words),) = relays_of(process)
    ports = Path(words[words.index("--ports-file") + 1])
    eventually(ports.exists)
    os.kill(relay, signal.SIGKILL)
    process.send_signal(signal.SIGCONT)
    complained = last_words_of(process)

    assert process.returncode == ExitCode.FAILED
    assert "the relay ended by signal 9; its last words: " in complained
    assert list((tmp_path / "out").iterdir()) == []


def test_what_cannot_be_kept_is_said_so_and_nothing_of_it_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("bench.isolation.bundle.write_drawings", full)
    out = tmp_path / "out"
    arguments = ("--fault", "poison", *SMALL, "--seconds", "3", "--out", str(out))
    code = run(["bench", "isolation", *arguments])

    assert code == ExitCode.CANNOT_CREATE
    assert "No space left on device" in capfd.readouterr().err
    assert list(out.iterdir()) == []


def test_a_directory_that_cannot_be_written_to_is_found_out_before_the_experiment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def read_only(**_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("bench.isolation.command.TemporaryFile", read_only)
    code = run(["bench", "isolation", "--fault", "flood", *SMALL, "--out", str(tmp_path / "out")])

    assert code == ExitCode.USAGE
    assert "Read-only file system" in capfd.readouterr().err


def last_words_of(ending: subprocess.Popen[str]) -> str:
    """What it still says on standard error; whoever does not end is named, and ended."""
    try:
        return ending.communicate(timeout=60)[1]
    except subprocess.TimeoutExpired:
        alive = _alive_in_session(ending.pid)
        for one, _ in alive:
            os.kill(one, signal.SIGKILL)
        _, complained = ending.communicate()
        pytest.fail(f"these did not end: {alive}\n{complained}")


def assert_no_process_of(ended: subprocess.Popen[str]) -> None:
    eventually(lambda: not _alive_in_session(ended.pid), seconds=30.0)


def _alive_in_session(session: int) -> list[tuple[int, list[str]]]:
    """Each process that has not ended, by number, with the words of its command."""
    alive = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            fields = (directory / "stat").read_text().rpartition(")")[2].split()
            words = (directory / "cmdline").read_text().split("\0")
        except OSError:  # it has ended meanwhile
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            alive.append((int(directory.name), words))
    return alive
