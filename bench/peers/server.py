"""A peer's server for one measurement: its process, which is always ended by who started it."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from bench.ending import undisturbed, unwound_when_told_to_end
from bench.relay_of_its_own import POLL_SECONDS, START_SECONDS, StartError, stop

LOOPBACK: Final = "127.0.0.1"


class Server(NamedTuple):
    """Where it listens, and which process it is."""

    url: str
    pid: int


class NotInstalledError(StartError):
    """A program is not on this machine; the message says what to install."""


def program(name: str, package: str) -> str:
    """Where the program is.

    Raises:
        NotInstalledError: it is nowhere on the PATH.
    """
    found = shutil.which(name)
    if found is None:
        raise NotInstalledError(f"{name} is not installed: it needs `apt-get install {package}`")
    return found


@contextmanager
def temporary_directory() -> Iterator[Path]:
    """A directory that is removed afterwards, also when this program is told to end."""
    temporary = tempfile.TemporaryDirectory(prefix="ksmp-peer-")
    with unwound_when_told_to_end(), temporary as name:
        yield Path(name)


@contextmanager
def serving(words: Sequence[str], directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The process, until the block ends; what it prints is in `directory / "output"`."""
    process: subprocess.Popen[bytes] | None = None
    try:
        with undisturbed(), (directory / "output").open("wb") as output:
            process = subprocess.Popen(
                list(words),
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=0,  # Ctrl-C is for who started it, and then ends it in order
            )
        yield process
    finally:
        if process is not None:
            stop(process)


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
