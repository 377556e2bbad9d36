"""A life of a weak store: `python -m tests.bench.images.planted BUG STORE MARKS PLAN`.

Each bug takes away, or delays, one thing that the store does for the disk. The process itself never
notices; what a crash leaves does.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import lmdb

from bench.images import life
from storage import environment as environments
from storage import journal as journals
from storage.engine import ENGINE_LIB_VERSION
from storage.environment import Environment
from storage.journal import Journal
from storage.keys import TABLES


def _replace(owner: object, name: str, by: object) -> None:
    setattr(owner, name, by)


def _nothing(*arguments: object) -> None:
    pass


def _weaken_lmdb(**flags: bool) -> None:
    def open_engine(path: Path, map_size_bytes: int) -> lmdb.Environment:
        return lmdb.Environment(
            os.fspath(path),
            map_size=map_size_bytes,
            max_dbs=len(TABLES),
            lib_version=ENGINE_LIB_VERSION,
            **flags,
        )

    _replace(environments, "assert_durable", _nothing)
    _replace(environments, "open_engine", open_engine)


def lmdb_without_sync() -> None:
    _weaken_lmdb(sync=False)


def lmdb_without_metasync() -> None:
    _weaken_lmdb(metasync=False)


def journal_without_fdatasync() -> None:
    _replace(os, "fdatasync", _nothing)


def journal_syncs_after_the_ack() -> None:
    """A commit syncs what the one before it has written, and returns."""
    append, fdatasync = Journal.append, os.fdatasync
    late: list[int] = []

    def append_and_sync_later(self: Journal, payload: bytes) -> None:
        for file in late:
            fdatasync(file)
        late.clear()
        append(self, payload)

    _replace(os, "fdatasync", late.append)
    _replace(Journal, "append", append_and_sync_later)


def journal_is_written_over_before_it_is_folded() -> None:
    """A full file is left for the other, though a checkpoint has not moved all of that."""
    append = Journal.append

    def turn_and_append(self: Journal, payload: bytes) -> None:
        if not self.has_room(payload):
            self._which, self._end = 1 - self._which, 0
        append(self, payload)

    _replace(Journal, "append", turn_and_append)


def journal_is_removed_before_the_tables_have_it() -> None:
    drop = Environment.drop_journal

    def remove_and_drop(self: Environment) -> None:
        self.journal.remove()
        drop(self)

    _replace(Environment, "drop_journal", remove_and_drop)


def names_are_never_synced() -> None:
    _replace(environments, "sync_directory", _nothing)
    _replace(journals, "sync_directory", _nothing)


def start_does_not_write_the_last_frame_again() -> None:
    _replace(Journal, "_write_again", _nothing)


def start_does_not_sync_the_tables() -> None:
    _replace(environments, "sync_file", _nothing)


FOUND_IN_CALM: Final = (
    lmdb_without_sync,
    lmdb_without_metasync,
    journal_without_fdatasync,
    journal_syncs_after_the_ack,
    journal_is_written_over_before_it_is_folded,
    journal_is_removed_before_the_tables_have_it,
    names_are_never_synced,
)
"""Lives that end by a clean stop show them; the others need a kill at the right moment."""

FOUND_AFTER_A_KILL: Final = (
    start_does_not_write_the_last_frame_again,
    start_does_not_sync_the_tables,
)

BUGS: Final[dict[str, Callable[[], None]]] = {
    bug.__name__: bug for bug in (*FOUND_IN_CALM, *FOUND_AFTER_A_KILL)
}

if __name__ == "__main__":
    BUGS[sys.argv[1]]()
    life.main(sys.argv[2:])
