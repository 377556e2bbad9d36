"""Rows that are committed and not in LMDB's tables yet, and the view of both together.

A commit writes its rows to the journal (`storage.journal`) and keeps them here; the checkpoint
(`storage.checkpoint`) moves them into the tables, many at a time. So there are two generations:

    current     what has been committed since the journal last turned to its other file
    folding     what was committed before that, and is on its way into the tables

The storage thread adds and turns, the one that folds forgets, and never both at once, since there
is no turning before all is folded; any thread reads, without a lock. A view takes both generations
*and then* begins to read the tables: a generation that has gone by then is in what the tables show.
Until it has gone it is whole, though part of it may be in the tables already.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from typing import Final

import lmdb
import msgspec

from storage.tables import Tables

ROW_TABLES: Final = (
    b"users",
    b"user_names",
    b"conversations",
    b"conversation_names",
    b"log",
    b"keys",
    b"heads",
    b"inbox",
    b"inboxes",
    b"reads",
    b"read_index",
)
"""In an order in which every row finds what it names: so they appear to whoever reads meanwhile.

It is part of the journal's format: a table is called by its place here.
"""

Rows = Mapping[bytes, dict[bytes, bytes | None]]
"""By table and key. None stands for a row that is removed."""

Generations = tuple[Rows, Rows]
"""Current and folding."""

_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(list[dict[bytes, bytes | None]])


def no_rows() -> Rows:
    """Of every table none."""
    return {table: {} for table in ROW_TABLES}


def encode_rows(rows: Rows) -> bytes:
    """MessagePack: for each of `ROW_TABLES` a map from keys to values."""
    return _encoder.encode([rows[table] for table in ROW_TABLES])


def decode_rows(encoded: bytes) -> Rows:
    """The inverse of `encode_rows`.

    Raises:
        ValueError: these bytes are no such rows.
    """
    tables = _decoder.decode(encoded)
    return dict(zip(ROW_TABLES, tables, strict=True))


class Unfolded:
    """The two generations."""

    def __init__(self, current: Rows | None = None, folding: Rows | None = None) -> None:
        self.generations: Generations = (current or no_rows(), folding or no_rows())

    def add(self, rows: Rows) -> None:
        """Rows that have been committed."""
        current = self.generations[0]
        for table in ROW_TABLES:
            if new := rows[table]:
                current[table].update(new)

    def turn(self) -> None:
        """From now on, what was current is to be folded. Nothing may be folding already."""
        self.generations = (no_rows(), self.generations[0])

    def forget_folded(self) -> None:
        """What was folding is in the tables."""
        self.generations = (self.generations[0], no_rows())


class View:
    """All rows that are committed: what one transaction sees of the tables, under what is newer."""

    __slots__ = ("_current", "_folding", "_tables", "_transaction")

    def __init__(
        self, generations: Generations, transaction: lmdb.Transaction[bytes], tables: Tables
    ) -> None:
        """`transaction` began when `generations` had been taken already."""
        self._current, self._folding = generations
        self._transaction = transaction
        self._tables = tables

    def get(self, table: bytes, key: bytes) -> bytes | None:
        """The value, or None where there is no such row."""
        rows = self._current[table]
        if key in rows:
            return rows[key]
        rows = self._folding[table]
        if key in rows:
            return rows[key]
        return self._transaction.get(key, db=self._tables[table])

    def range(self, table: bytes, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Every row from the key `start` on, in the order of keys."""
        newer = {**self._folding[table], **self._current[table]}
        keys = sorted(key for key in newer if key >= start)
        with self._transaction.cursor(self._tables[table]) as lmdb_cursor:
            place = 0
            if lmdb_cursor.set_range(start):
                for key, row in lmdb_cursor:
                    end = bisect_left(keys, key, place)
                    yield from _present(newer, keys[place:end])
                    place = end
                    if key not in newer:
                        yield key, row
            yield from _present(newer, keys[place:])

    def count(self, table: bytes) -> int:
        """How many rows the table has. Looks up every row that is not in the tables yet."""
        newer = {**self._folding[table], **self._current[table]}
        stored: int = self._transaction.stat(self._tables[table])["entries"]
        for key, row in newer.items():
            stored -= self._transaction.get(key, db=self._tables[table]) is not None
            stored += row is not None
        return stored

    def last_key(self, table: bytes) -> bytes:
        """The greatest key of a table from which no row is ever removed; empty if it has none."""
        with self._transaction.cursor(self._tables[table]) as lmdb_cursor:
            stored = lmdb_cursor.key() if lmdb_cursor.last() else b""
        return max(stored, *self._current[table], *self._folding[table], b"")


def _present(
    rows: Mapping[bytes, bytes | None], keys: list[bytes]
) -> Iterator[tuple[bytes, bytes]]:
    for key in keys:
        row = rows[key]
        if row is not None:
            yield key, row
