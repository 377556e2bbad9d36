"""Which system call is hit: fifty lists would be wrong in silence, so what was hit is read back."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from bench.strace import Injection, place_hit
from bench.torture.faults.calls import COMMIT, FOLD, OPENING, Place, places

STORE = "/data/store"


def test_places_are_the_first_of_each_kind_then_the_second_of_each() -> None:
    assert places(pwrite64=2, fsync=1) == [
        Place("pwrite64", 1),
        Place("fsync", 1),
        Place("pwrite64", 2),
    ]


@pytest.mark.parametrize("walked", [COMMIT, FOLD, OPENING])
def test_no_place_is_walked_to_twice(walked: list[Place]) -> None:
    assert max(Counter(walked).values()) == 1


@pytest.mark.parametrize(
    ("calls", "lines", "hit"),
    [
        (
            "fdatasync",
            [f"7 fdatasync(14<{STORE}/journal-0>) = -1 EIO (Input/output error) (INJECTED)"],
            "fdatasync of journal-0",
        ),
        (
            "pwrite64",
            [
                f'7 pwrite64(13<{STORE}/data.mdb>, ""..., 4096, 40960) = 4096',
                f'7 pwrite64(14<{STORE}/data.mdb>, ""..., 120, 4128 <unfinished ...>',
                "8 <... futex resumed>) = ?",
                "7 +++ killed by SIGKILL +++",
            ],
            "pwrite64 of data.mdb, a meta page",
        ),
        (
            "writev",
            [f"7 writev(13<{STORE}/data.mdb>, [...], 3) = ?", "7 +++ killed by SIGKILL +++"],
            "writev of data.mdb, pages of data",
        ),
        (
            "openat",
            [f'7 openat(AT_FDCWD</data>, "{STORE}/store.lock", O_RDWR) = -1 EIO (I/O) (INJECTED)'],
            "openat of store.lock",
        ),
        (
            "sendto",
            ['7 sendto(9<socket:[4711]>, ""..., 1 <unfinished ...>', "7 +++ killed by SIGKILL +++"],
            "sendto of a socket",
        ),
        ("fsync", [f"7 fsync(14<{STORE}/journal-0>) = 0", "7 +++ exited with 0 +++"], None),
        ("fsync", ["7 +++ killed by SIGKILL +++"], None),
    ],
)
def test_what_strace_has_hit_is_told_by_its_call_and_its_file(
    calls: str, lines: list[str], hit: str | None, tmp_path: Path
) -> None:
    output = tmp_path / "trace"
    output.write_text("\n".join(lines) + "\n")

    assert place_hit(output, Injection(calls, "signal=KILL")) == hit


def test_nothing_is_hit_where_strace_has_written_nothing(tmp_path: Path) -> None:
    assert place_hit(tmp_path / "none", Injection("fsync", "signal=KILL")) is None
