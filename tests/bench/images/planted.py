"""A life of a store that is weak on purpose: `python -m tests.bench.images.planted BUG STORE MARKS PLAN`.

Each bug takes away, or delays, one thing that the store does for the disk. The process itself never
notices; what a crash leaves does.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import lmdb

from bench.images import life
from storage import environment as environments
from storage import journal as journals
from storage.checkpoint import Checkpoint
from storage.engine import ENGINE_LIB_VERSION
from storage.environment import Environment
from storage.journal import Journal
from storage.keys import TABLES


def _open_engine_with(**weaker: bool) -> Callable[[Path, int], lmdb.Environment]:
    def open_engine(path: Path, map_size_bytes: int) -> lmdb.Environment:
        return lmdb.Environment(
            os.fspath(path),
            map_size=map_size_bytes,
            max_dbs=len(TABLES),
            lib_version=ENGINE_LIB_VERSION,
            **weaker,
        )

    return open_engine


def _nothing(*arguments: object) -> None:
    pass


def lmdb_without_sync() -> None:
    environments.assert_durable = _nothing
    environments.open_engine = _open_engine_with(sync=False)


def lmdb_without_metasync() -> None:
    environments.assert_durable = _nothing
    environments.open_engine = _open_engine_with(metasync=False)


def journal_without_fdatasync() -> None:
    os.fdatasync = _nothing


def journal_syncs_after_the_ack() -> None:
    """A commit syncs what the one before it has written, and returns."""
    append = Journal.append
    late: list[int] = []

    def append_and_sync_later(self: Journal, payload: bytes) -> None:
        for file in late:
            fdatasync(file)
        late.clear()
        append(self, payload)

    fdatasync = os.fdatasync
    os.fdatasync = late.append
    Journal.append = append_and_sync_later  # type: ignore[method-assign]


def checkpoint_frees_the_journal_before_the_sync() -> None:
    """What a checkpoint has moved is synced when the next one begins."""
    lmdb_without_sync()
    step = Checkpoint.step

    def sync_and_step(self: Checkpoint) -> None:
        self._environment._env.sync(True)
        step(self)

    Checkpoint.step = sync_and_step  # type: ignore[method-assign]


def start_does_not_write_the_last_frame_again() -> None:
    Journal._write_again = _nothing  # type: ignore[method-assign,assignment]


def start_does_not_sync_the_tables() -> None:
    environments.sync_file = _nothing


def names_are_never_synced() -> None:
    environments.sync_directory = _nothing
    journals.sync_directory = _nothing


def journal_is_removed_before_the_tables_have_it() -> None:
    drop = Environment.drop_journal

    def remove_and_drop(self: Environment) -> None:
        self.journal.remove()
        drop(self)

    Environment.drop_journal = remove_and_drop  # type: ignore[method-assign]


BUGS: Final[dict[str, Callable[[], Any]]] = {
    bug.__name__: bug
    for bug in (
        lmdb_without_sync,
        lmdb_without_metasync,
        journal_without_fdatasync,
        journal_syncs_after_the_ack,
        checkpoint_frees_the_journal_before_the_sync,
        start_does_not_write_the_last_frame_again,
        start_does_not_sync_the_tables,
        names_are_never_synced,
        journal_is_removed_before_the_tables_have_it,
    )
}

if __name__ == "__main__":
    BUGS[sys.argv[1]]()
    life.main(sys.argv[2:])
