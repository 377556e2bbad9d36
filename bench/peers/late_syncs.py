"""Every sync of a program takes so much longer, as on a disk that is farther away.

strace starts the program and delays what each `fsync` and `fdatasync` returns. A filter in the
kernel lets every other system call pass without stopping the program.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from bench.run import RunError

SYNCS: Final = "fsync,fdatasync"
LOG: Final = "syncs"
_DELAYED: Final = "(DELAYED)"


def options(directory: Path, milliseconds: float) -> list[str]:
    """Words for strace; the program's own follow."""
    return [
        "--follow-forks",
        "--seccomp-bpf",
        "--quiet=all",
        "--signal=none",
        f"--output={directory / LOG}",
        f"--trace={SYNCS}",
        f"--inject={SYNCS}:delay_exit={round(milliseconds * 1_000)}",
        "--",
    ]


def traced_by(pid: int) -> list[int]:
    """The programs that this strace has started: once it is one, a child has another name."""
    own = _name(pid)
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children if _name(int(child)) != own]


def require_late(directory: Path) -> None:
    """All syncs that were made, and at least one, were delayed.

    Raises:
        RunError: they were not.
    """
    lines = (directory / LOG).read_text(errors="replace").splitlines()
    returned = [line for line in lines if "sync" in line and " = " in line]
    delayed = sum(_DELAYED in line for line in returned)
    if not delayed or delayed < len(returned):
        raise RunError(f"of {len(returned)} syncs {delayed} were late, and all should have been")


def _name(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text()
