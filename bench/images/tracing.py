"""What a process does to files, as strace tells it: each call that could change one, with its data.

The system stops the process at the beginning and at the end of each of these calls until strace
has taken note. So their order in the account is one that they had, and whatever a thread does
after another's call has returned stands behind the end of that call.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

CALLS: Final = (
    *("open", "openat", "openat2", "creat", "close_range", "lseek"),
    *("write", "pwrite64", "writev", "pwritev", "pwritev2"),
    *("sendfile", "copy_file_range", "splice", "vmsplice", "tee"),
    *("truncate", "ftruncate", "fallocate"),
    *("fsync", "fdatasync", "sync", "syncfs", "sync_file_range", "msync"),
    *("rename", "renameat", "renameat2", "unlink", "unlinkat"),
    *("link", "linkat", "symlink", "symlinkat", "mkdir", "mkdirat", "rmdir"),
    *("mmap", "mprotect", "remap_file_pages", "dup", "dup2", "dup3", "fcntl"),
    *("io_setup", "io_submit", "io_uring_setup", "io_uring_enter", "pidfd_getfd"),
)
"""Which of them were looked at is decided where the account is read."""

MOST_BYTES: Final = 1 << 25
"""Of one write."""


class NoTraceError(Exception):
    """There is no account of the process. Says why."""


def require_strace() -> None:
    """There is one.

    Raises:
        NoTraceError: it is not installed.
    """
    if shutil.which("strace") is None:
        raise NoTraceError("strace is not installed: it records what a process does to its files.")


class Kill(NamedTuple):
    """The process is killed when one of its threads makes this call for the so manieth time."""

    call: str
    time: int


def trace(program: Sequence[str], account: Path, kill: Kill | None = None) -> int:
    """Run `program` to its end, leaving strace's text in `account`; its exit code, or -9 if killed.

    Raises:
        NoTraceError: strace is not installed, or cannot trace.
    """
    require_strace()
    options = ["-f", "--seccomp-bpf", "-qq", "-y", "-xx", "-s", str(MOST_BYTES)]
    traced = ["-e", "trace=" + ",".join(CALLS), "-e", "signal=none", "-o", str(account)]
    if kill is not None:
        traced += ["-e", f"inject={kill.call}:signal=KILL:when={kill.time}"]
    done = subprocess.run(
        ["strace", *options, *traced, *program], stdin=subprocess.DEVNULL, check=False
    )
    if not account.exists() or not account.stat().st_size:
        raise NoTraceError("strace cannot trace here.")
    return done.returncode
