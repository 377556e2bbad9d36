"""LMDB as this store uses it: how it is opened, what is asserted, and what its errors mean."""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import Final

import lmdb

from storage.directory import DATA_FILE, FILE_MODE, sync_directory, sync_file, unavailable
from storage.errors import StorageError, StoreFailedError
from storage.keys import TABLES
from storage.structure import structure_problems
from storage.tables import corrupt, incompatible

ENGINE_LIB_VERSION: Final = 0
"""Of the two engines in the `lmdb` package. Their files are not interchangeable."""

DRAFT_FILE: Final = "data.mdb.new"
"""What is to become the store's file. One that is left over was never it."""


def make_engine_file(path: Path) -> None:
    """There is a file for the engine in `path`, on the disk and whole, also after a power loss.

    The engine does not sync what a new file begins with, and refuses one that lacks a part of it.
    So it is made beside, and gets its name when it is on the disk.

    Raises:
        lmdb.Error, OSError: the system refuses.
    """
    if (path / DATA_FILE).exists():
        return
    draft = path / DRAFT_FILE
    draft.unlink(missing_ok=True)
    lmdb.Environment(
        os.fspath(draft), subdir=False, lock=False, mode=FILE_MODE, lib_version=ENGINE_LIB_VERSION
    ).close()
    sync_file(draft)
    draft.rename(path / DATA_FILE)
    sync_directory(path)


def open_engine(path: Path, map_size_bytes: int) -> lmdb.Environment:
    """The engine on the files in `path`, with every promise of durability on."""
    return lmdb.Environment(
        os.fspath(path),
        map_size=map_size_bytes,
        subdir=True,
        sync=True,
        metasync=True,
        writemap=False,
        map_async=False,
        mode=FILE_MODE,
        max_dbs=len(TABLES),
        lib_version=ENGINE_LIB_VERSION,
    )


def open_read_only(path: Path) -> lmdb.Environment:
    """The same on a store that nobody has open, to look at it and to change no byte of it."""
    return lmdb.Environment(
        os.fspath(path),
        readonly=True,
        lock=False,
        create=False,
        max_dbs=len(TABLES),
        lib_version=ENGINE_LIB_VERSION,
    )


def assert_durable(env: lmdb.Environment) -> None:
    """The engine syncs every commit.

    Raises:
        StoreFailedError: it does not.
    """
    flags = env.flags()
    if not (flags["sync"] and flags["metasync"]) or flags["writemap"] or flags["map_async"]:
        raise StoreFailedError(
            "the storage engine is not durable as configured",
            "it does not sync every commit",
            "This is a fault of the relay: report it.",
        )


def assert_whole(path: Path, env: lmdb.Environment) -> None:
    """Reading a page beyond the end of the file would end the process with SIGBUS."""
    expected = (env.info()["last_pgno"] + 1) * env.stat()["psize"]
    if (path / DATA_FILE).stat().st_size >= expected:
        return
    # Free pages at the end may never have been written. Only the whole structure can tell.
    if structure_problems(path / DATA_FILE):
        raise corrupt(path, "its file is shorter than its content")


def double_map(env: lmdb.Environment) -> bool:
    """False where the address space does not give that much. No transaction may be open."""
    size = 2 * env.info()["map_size"]
    # LMDB drops the old map before it asks for the new one, and has none if it is then refused.
    # So ask first, while the old one still stands.
    try:
        mmap.mmap(
            -1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=mmap.PROT_READ
        ).close()
    except (OSError, OverflowError):
        return False
    env.set_mapsize(size)
    return True


def explain(path: Path, error: lmdb.Error) -> StorageError:
    """The engine's error at opening, as one of ours."""
    if isinstance(error, lmdb.InvalidError | lmdb.VersionMismatchError | lmdb.IncompatibleError):
        return incompatible(path, "its file is not one of LMDB 0.9")
    if isinstance(error, lmdb.CorruptedError | lmdb.PageNotFoundError | lmdb.PanicError):
        return corrupt(path, "the storage engine finds its file damaged")
    number = getattr(error, "code", 0)
    return unavailable(path, OSError(max(number, 0), str(error)))
