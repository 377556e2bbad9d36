"""What a system can do to a process that runs, done by strace to its system calls.

strace counts the calls of each thread by themselves, and each kind of call by itself: `when="3"` is
the third `fdatasync` of whichever thread comes to it first.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

ATTACH_SECONDS: Final = 10.0
DETACH_SECONDS: Final = 10.0
POLL_SECONDS: Final = 0.002

META_PAGES_BYTES: Final = 8_192
"""LMDB's file begins with two pages of which one tells where everything is."""

_LINE: Final = re.compile(r"^\d+ +(\w+)\((.*)")
_OF_A_FILE: Final = re.compile(r"[</\"]([\w.-]+)[>\"]")
_OFFSET: Final = re.compile(r", (\d+)(?:\)| <)")


class StraceError(Exception):
    """strace is not there, or may not do this."""


class Injection(NamedTuple):
    """What is done to which calls."""

    calls: str
    """Names, with commas between them."""

    effect: str
    """`error=EIO`, `signal=KILL`, `delay_enter=1000000` (microseconds) …"""

    when: str = "1+"
    """`3`: only the third; `3+`: from the third on."""

    paths: Sequence[Path] = ()
    """Only calls on these files count; none: all."""


def is_there() -> bool:
    """Whether strace is installed."""
    return shutil.which("strace") is not None


def words(injection: Injection, output: Path = Path("/dev/null")) -> list[str]:
    """The command line, but for whom it is done to."""
    calls, effect, when, paths = injection
    written = ["strace", "-f", "-qq", "-y", "-s", "0", "-o", str(output)]
    written += [word for path in paths for word in ("-P", str(path))]
    return [*written, "-e", f"trace={calls}", "-e", f"inject={calls}:{effect}:when={when}"]


def in_front(injection: Injection, output: Path) -> list[str]:
    """Words to put in front of a command line, so that it is done to that process from the start.

    The process is the child of whoever starts it; strace is a grandchild, and ends with it.
    """
    strace, *rest = words(injection, output)
    return [strace, "-D", *rest]


@contextmanager
def injected(pid: int, injection: Injection, output: Path = Path("/dev/null")) -> Iterator[None]:
    """It is done to the process until the block ends, or the process.

    Raises:
        StraceError: it cannot be done.
    """
    if not is_there():
        raise StraceError("strace is not installed: it makes a call fail or wait")
    strace = subprocess.Popen(
        [*words(injection, output), "-p", str(pid)],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        process_group=0,
    )
    try:
        _wait_until_attached(strace, pid)
        yield
    finally:
        strace.terminate()
        try:
            strace.wait(DETACH_SECONDS)
        except subprocess.TimeoutExpired:
            strace.kill()
            strace.wait()


def _wait_until_attached(strace: subprocess.Popen[bytes], pid: int) -> None:
    deadline = time.monotonic() + ATTACH_SECONDS
    while not _is_traced(pid):
        if strace.poll() is not None and Path(f"/proc/{pid}").exists():
            raise StraceError("strace cannot attach: it may not trace processes here")
        if time.monotonic() > deadline:
            raise StraceError("strace does not attach")
        time.sleep(POLL_SECONDS)


def _is_traced(pid: int) -> bool:
    """Every thread of it; also where it has ended already, of what was done to it."""
    try:
        states = [(task / "status").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return all("TracerPid:\t0" not in state for state in states)


# ── what was hit ─────────────────────────────────────────────────────────────────────────────


def place_hit(output: Path, injection: Injection) -> str | None:
    """The first call that it was done to, as `fdatasync of journal-0`; None where there was none.

    A process that was killed at a call has not made it: it is the last one that was begun.
    """
    if not output.exists():
        return None
    kinds = injection.calls.split(",")
    begun: str | None = None
    for line in output.read_text(errors="replace").splitlines():
        found = _LINE.match(line)
        if found and found[1] in kinds and "resumed>" not in line:
            begun = f"{found[1]} of {_file_of(found[1], found[2])}"
            if "(INJECTED)" in line or "(DELAYED)" in line:
                return begun
        elif begun and "killed by SIGKILL" in line:
            return begun
    return None


def _file_of(call: str, rest: str) -> str:
    found = _OF_A_FILE.search(rest.partition(", ")[2] if "AT_FDCWD" in rest else rest)
    if found is None:
        return "a socket" if "socket:" in rest else "something else"
    name = found[1]
    offset = _OFFSET.search(rest)
    if name != "data.mdb" or call not in ("pwrite64", "writev"):
        return name
    is_meta = call == "pwrite64" and offset is not None and int(offset[1]) < META_PAGES_BYTES
    return f"{name}, a meta page" if is_meta else f"{name}, pages of data"
