"""What a disk can do to a relay, done by strace to its system calls."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def syncs(pid: int, inject: str) -> Iterator[None]:
    """Every fdatasync of the process has this done to it: `error=EIO`, `delay_enter=1000000`."""
    with calls(pid, "fdatasync", inject):
        yield


@contextmanager
def calls(pid: int, call: str, inject: str) -> Iterator[None]:
    """Every such system call of the process has this done to it."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed: it makes a call fail or wait")
    injected = ["-e", f"trace={call}", "-e", f"inject={call}:{inject}"]
    strace = subprocess.Popen(
        ["strace", "-f", "-qq", "-o", "/dev/null", *injected, "-p", str(pid)],
        stdin=subprocess.DEVNULL,
    )
    try:
        while not all(map(_is_traced, Path(f"/proc/{pid}/task").iterdir())):
            assert strace.poll() is None, "strace cannot attach"
        yield
    finally:
        strace.terminate()
        strace.wait(10)


def _is_traced(task: Path) -> bool:
    lines = (task / "status").read_text().splitlines()
    return "TracerPid:\t0" not in lines
