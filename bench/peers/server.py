"""A peer's server for one measurement: its process, which is always ended by who started it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

from bench.ending import unwound_when_told_to_end
from bench.peers import late_syncs
from bench.relay_of_its_own import POLL_SECONDS, START_SECONDS, StartError
from bench.running import STOP_SECONDS, running, stop

LOOPBACK: Final = "127.0.0.1"


class Server(NamedTuple):
    """Where it listens, and which process it is."""

    url: str
    pid: int


class Serving(NamedTuple):
    """What was started, and the server's own process: another one where it is traced."""

    process: subprocess.Popen[bytes]
    pid: int


class NotInstalledError(StartError):
    """A program is not on this machine; the message says what to install."""


def program(name: str, *packages: str) -> str:
    """Where the program is.

    Raises:
        NotInstalledError: it is nowhere on the PATH.
    """
    found = shutil.which(name)
    if found is None:
        wanted = " ".join(packages or (name,))
        raise NotInstalledError(f"{name} is not installed: it needs `apt-get install {wanted}`")
    return found


def package_version(package: str) -> str:
    """Of a Debian package; `unknown` where it came in another way."""
    try:
        words = ["dpkg-query", "--show", "--showformat=${Version}", package]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


@contextmanager
def temporary_directory() -> Iterator[Path]:
    """A directory that is removed afterwards, also when this program is told to end."""
    temporary = tempfile.TemporaryDirectory(prefix="ksmp-peer-")
    with unwound_when_told_to_end(), temporary as name:
        yield Path(name)


@contextmanager
def serving(words: Sequence[str], directory: Path, sync_delay_ms: float = 0.0) -> Iterator[Serving]:
    """The server, until the block ends; what it prints is in `directory / "output"`.

    Raises:
        StartError: it does not start, or cannot be made to sync late.
        RunError: a sync was not as late as it should have been.
    """
    if sync_delay_ms:
        strace = program("strace")
        words = [strace, *late_syncs.options(directory, sync_delay_ms), *words]
    with (
        (directory / "output").open("wb") as output,
        running(
            words,
            cwd=directory,
            stdout=output,
            stderr=subprocess.STDOUT,
            end=_stop_traced if sync_delay_ms else stop,
        ) as process,
    ):
        yield Serving(process, _traced(process, directory) if sync_delay_ms else process.pid)
    if sync_delay_ms:
        late_syncs.require_late(directory)


def _stop_traced(process: subprocess.Popen[bytes]) -> None:
    """Ask the server to end, and end it and its tracer if it does not.

    A tracer that is told to end may let go of what it has started; so that is told, and the tracer
    ends with it.
    """
    with suppress(OSError):
        for pid in late_syncs.traced_by(process.pid):
            os.kill(pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    with suppress(ProcessLookupError):  # nobody of its group is left
        os.killpg(process.pid, signal.SIGKILL)


def _traced(process: subprocess.Popen[bytes], directory: Path) -> int:
    """The process that the tracer has started."""
    found: list[int] = []

    def is_found() -> bool:
        with suppress(OSError):
            found[:] = late_syncs.traced_by(process.pid)
        return bool(found)

    await_start(is_found, process, directory)
    return found[0]


def await_start(
    is_up: Callable[[], bool], process: subprocess.Popen[bytes], directory: Path
) -> None:
    """Return when it is up.

    Raises:
        StartError: it has ended, or takes too long.
    """
    deadline = time.monotonic() + START_SECONDS
    while not is_up():
        if process.poll() is not None or time.monotonic() > deadline:
            printed = (directory / "output").read_text(errors="replace").strip().splitlines()
            raise StartError(f"the server did not start: {printed[-1] if printed else 'silence'}")
        time.sleep(POLL_SECONDS)


def free_port() -> int:
    """A port of the loopback that nobody listens on now, for servers that cannot choose one."""
    with socket.create_server((LOOPBACK, 0)) as listener:
        return int(listener.getsockname()[1])


def listens(port: int) -> bool:
    """Whether somebody accepts connections there."""
    with socket.socket() as probe:
        return probe.connect_ex((LOOPBACK, port)) == 0
