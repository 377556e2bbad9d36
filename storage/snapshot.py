"""A store as the offline check sees it: rows with their meaning, and a list of what is wrong."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

import lmdb

from storage.tables import Tables

MAX_PROBLEMS: Final = 1_000
"""What is found beyond that is counted, not told."""

K = TypeVar("K")
V = TypeVar("V")

_MALFORMED = (ValueError, struct.error)


class Snapshot:
    """One read transaction over all tables, and the problems found in it so far."""

    def __init__(self, transaction: lmdb.Transaction[bytes], tables: Tables) -> None:
        self._transaction = transaction
        self._tables = tables
        self._problems: list[str] = []
        self._untold = 0

    @property
    def problems(self) -> list[str]:
        """In the order in which they were found."""
        if self._untold:
            return [*self._problems, f"and {self._untold} more"]
        return self._problems

    def problem(self, text: str) -> None:
        """Note one thing that is wrong, told in numbers."""
        if len(self._problems) < MAX_PROBLEMS:
            self._problems.append(text)
        else:
            self._untold += 1

    def count(self, table: bytes) -> int:
        """How many rows the table has."""
        return self._transaction.stat(self._tables[table])["entries"]

    def has(self, table: bytes, key: bytes) -> bool:
        """Whether there is such a row."""
        return self._transaction.get(key, db=self._tables[table]) is not None

    def get(self, table: bytes, key: bytes, parse: Callable[[bytes], V]) -> V | None:
        """The meaning of one row; None where there is none, or it has no valid form."""
        row = self._transaction.get(key, db=self._tables[table])
        try:
            return None if row is None else parse(row)
        except _MALFORMED:
            self.problem(f"{table.decode()}: a row has no valid form")
            return None

    def rows(
        self, table: bytes, parse_key: Callable[[bytes], K], parse: Callable[[bytes], V]
    ) -> Iterator[tuple[K, V]]:
        """Every row in key order; one without a valid form is noted and left out."""
        with self._transaction.cursor(self._tables[table]) as lmdb_cursor:
            for place, (key, row) in enumerate(lmdb_cursor, 1):
                try:
                    parsed = parse_key(key), parse(row)
                except _MALFORMED:
                    self.problem(f"{table.decode()}: row {place} has no valid form")
                    continue
                yield parsed
