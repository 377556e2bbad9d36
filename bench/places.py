"""Where an experiment has its relay's store, and records its history."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import disk_usage, move
from tempfile import TemporaryDirectory, gettempdir
from typing import Final

from bench.run import RunError

IN_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - only directories of our own are made in it
"""Where Linux has a file system in memory."""

ROOM_FOR_HISTORY_BYTES: Final = 2 << 30
"""More than a history of an hour at a few hundred sends per second, or of a minute at any rate."""

ROOM_FOR_STORE_BYTES: Final = 2 << 30
"""More than such an experiment stores."""


def stores_of(*, in_memory: bool) -> Path:
    """The directory in which the relay of a measurement has its own.

    Raises:
        RunError: it is to be in memory, where there is no room.
    """
    if not in_memory:
        return Path(gettempdir())
    memory = _memory(ROOM_FOR_STORE_BYTES)
    if memory is None:
        room = f"{ROOM_FOR_STORE_BYTES >> 30} GiB"
        raise RunError(f"this system has no file system in memory with {room} free for a store")
    return memory


@contextmanager
def recorded_aside(history: Path) -> Iterator[Path]:
    """Where to record, in memory if the system has room there; it is moved when the block ends.

    On the disk of the relay's store it would be what is measured: a file system that commits its
    journal every few seconds makes each sync of that moment wait for whatever else was written.
    """
    memory = _memory(ROOM_FOR_HISTORY_BYTES)
    if memory is None:
        yield history.absolute()
        return
    with TemporaryDirectory(prefix="ksmp-history-", dir=memory) as name:
        recorded = Path(name) / history.name
        yield recorded
        move(recorded, history)


@contextmanager
def aside() -> Iterator[Path]:
    """A directory for a history that is not kept, in memory if the system has room there.

    It is not moved to a disk in the end, where writing it out would be a part of the next run.
    """
    memory = _memory(ROOM_FOR_HISTORY_BYTES)
    with TemporaryDirectory(prefix="ksmp-history-", dir=memory) as name:
        yield Path(name)


def _memory(room_bytes: int) -> Path | None:
    """Where directories in memory can be made, if there is such a place with so much room."""
    if not IN_MEMORY.is_dir() or not os.access(IN_MEMORY, os.W_OK):
        return None
    return IN_MEMORY if disk_usage(IN_MEMORY).free >= room_bytes else None
