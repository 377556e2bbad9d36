"""`kill -9`, or an error, at each system call that touches the store's files, one after the other.

strace counts the calls of a thread by kind, so a place is a kind and a number: the third
`fdatasync`. A fault has a list of places and walks through it, round after round; what was hit is
told by the call and the file, since which write is which depends on what is being stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from bench.strace import Injection, is_there
from bench.torture.crowd import Load
from bench.torture.scene import Scene
from storage.directory import DATA_FILE, LOCK_FILE
from storage.journal import JOURNAL_FILES

LMDB_LOCK_FILE: Final = "lock.mdb"
JOURNAL: Final = JOURNAL_FILES
TABLES: Final = (DATA_FILE,)
ALL_FILES: Final = (DATA_FILE, LMDB_LOCK_FILE, LOCK_FILE, *JOURNAL_FILES, "")
"""The last one is the directory itself."""

PLACES_A_ROUND: Final = 6

FOLDING: Final = Load(sends_per_second=200.0, bulk_bytes=131_072, bulk_share=0.6)
"""So much that the journal's files fill up every second."""


class Place(NamedTuple):
    """The `nth` system call of this kind."""

    call: str
    nth: int


def places(**most: int) -> Sequence[Place]:
    """All places of these kinds up to the number given: first the first ones of each."""
    return [
        Place(call, nth)
        for nth in range(1, max(most.values()) + 1)
        for call, last in most.items()
        if nth <= last
    ]


COMMIT: Final = places(pwrite64=8, fdatasync=8, fsync=3)
"""On the journal: a commit writes and syncs once; now and then it makes the file longer before."""

FOLD: Final = places(lseek=24, writev=24, pwrite64=48, fdatasync=17, fallocate=2)
"""On `data.mdb`: 16 slices, each of which writes pages, syncs, and writes a meta page."""

OPENING: Final = places(
    openat=14,
    newfstatat=10,
    flock=1,
    fcntl=4,
    lseek=4,
    mmap=4,
    pread64=3,
    read=4,
    ftruncate=3,
    pwrite64=5,
    writev=2,
    fdatasync=2,
    fsync=8,
    close=10,
    fallocate=1,
)
"""On any file of the store, from the lock to the first commit after the start."""

CLOSING: Final = places(lseek=8, writev=8, pwrite64=16, fdatasync=8, unlink=2, close=6, fallocate=1)
"""On any file of the store, while everything is moved into the tables and the journal removed."""

ANSWER: Final = places(sendto=24)
"""On sockets: the storage thread wakes the loop, which sends acks and frames."""


def walked(scene: Scene, all_places: Sequence[Place]) -> Iterator[Place]:
    """The next ones in this round, from where the round before it has ended."""
    most = scene.times(PLACES_A_ROUND)
    for step in range(most):
        yield all_places[(scene.number * most + step) % len(all_places)]


def injection(scene: Scene, place: Place, effect: str, files: Sequence[str]) -> Injection:
    """What strace is told: this effect, once, at this place, on these files of the store."""
    paths: Sequence[Path] = [scene.relay.store / name for name in files]
    return Injection(place.call, effect, str(place.nth), paths)


def strace_lacks() -> str | None:
    """What `Fault.lacks` says of a fault that is made with strace."""
    return None if is_there() else "strace is not installed: it makes a system call fail"
