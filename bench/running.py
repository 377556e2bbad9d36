"""The processes that a measurement starts: whoever started one always ends it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from bench.ending import undisturbed

STOP_SECONDS: Final = 15.0


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ask the process to end, and end it if it does not."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def running(
    words: Sequence[str],
    *,
    cwd: Path,
    stdout: IO[bytes] | int,
    stderr: IO[bytes] | int | None = None,
    stdin: int = subprocess.DEVNULL,
    env: Mapping[str, str] | None = None,
    end: Callable[[subprocess.Popen[bytes]], None] = stop,
) -> Iterator[subprocess.Popen[bytes]]:
    """The process, until the block ends; then it has ended, too, and its pipes are closed.

    Who is interrupted while it is being started knows it all the same.
    """
    process: subprocess.Popen[bytes] | None = None
    try:
        with undisturbed():
            process = subprocess.Popen(
                list(words),
                cwd=cwd,
                env=env,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                process_group=0,  # Ctrl-C is for who started it, and then ends it in order
            )
        yield process
    finally:
        if process is not None:
            end(process)
            with process:  # its pipes
                pass
