"""A server that is started for a measurement is gone afterwards, however that ends; late syncs."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.peers import late_syncs
from bench.peers.server import serving, temporary_directory
from bench.relay_of_its_own import StartError
from bench.run import RunError
from tests.wire.relay_process import REPOSITORY

SERVES = """
import pathlib, sys, time
from bench.peers.server import serving, temporary_directory
with temporary_directory() as directory:
    words = [sys.executable, "-c", "import time; time.sleep(600)"]
    with serving(words, directory, float(sys.argv[1])) as (process, pid):
        print(process.pid, pid, directory, flush=True)
        time.sleep(600)
"""

SYNCS = """
import os, time, sys
for call in (os.fsync, os.fdatasync) * 2:
    with open("written", "a") as file:
        began = time.monotonic()
        call(file.fileno())
        print(time.monotonic() - began, flush=True)
print("done", flush=True)
time.sleep(600)
"""


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.fixture(scope="module")
def traced() -> None:
    """Of tests that let strace delay syncs."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed: it makes syncs late")


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("sync_delay_ms", ["0", "5"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_measurement_leaves_no_server_and_no_directory(
    number: signal.Signals, sync_delay_ms: str
) -> None:
    command = subprocess.Popen(
        [sys.executable, "-c", SERVES, sync_delay_ms],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with command:
        assert command.stdout is not None
        first, server, directory = command.stdout.readline().split()
        assert not is_gone(int(server))
        assert (first == server) == (sync_delay_ms == "0")

        command.send_signal(number)
        command.wait(60)

    assert is_gone(int(server))
    assert is_gone(int(first))
    assert not Path(directory).exists()


@pytest.mark.usefixtures("traced")
def test_every_sync_is_late(tmp_path: Path) -> None:
    words = [sys.executable, "-c", SYNCS]
    with serving(words, tmp_path, 50.0):
        deadline = time.monotonic() + 60
        while "done" not in (printed := (tmp_path / "output").read_text()):
            assert time.monotonic() < deadline
            time.sleep(0.05)

    *took, _done = printed.split()
    assert len(took) == 4
    assert all(float(seconds) >= 0.05 for seconds in took)


@pytest.mark.usefixtures("traced")
def test_a_server_that_never_syncs_is_not_taken_for_one_that_syncs_late(tmp_path: Path) -> None:
    with (
        pytest.raises(RunError, match="of 0 syncs 0 were late"),
        serving([sys.executable, "-c", "import time; time.sleep(600)"], tmp_path, 5.0),
    ):
        pass


def test_a_sync_that_was_not_late_is_noticed(tmp_path: Path) -> None:
    log = tmp_path / late_syncs.LOG
    log.write_text(
        "7 fsync(4 <unfinished ...>\n"
        "8 fdatasync(9) = 0 (DELAYED)\n"
        "7 <... fsync resumed>) = 0 (DELAYED)\n"
    )
    late_syncs.require_late(tmp_path)

    log.write_text(log.read_text() + "8 fdatasync(9) = 0\n")
    with pytest.raises(RunError, match="of 3 syncs 2 were late"):
        late_syncs.require_late(tmp_path)


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("sync_delay_ms", [0.0, 5.0])
def test_a_program_that_is_not_there_does_not_start(sync_delay_ms: float) -> None:
    with (
        temporary_directory() as directory,
        pytest.raises((StartError, FileNotFoundError)),
        serving(["/nowhere"], directory, sync_delay_ms),
    ):
        pass
