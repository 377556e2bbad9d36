"""Moves committed rows from the journal into LMDB's tables, many at a time, in the order of keys.

A checkpoint has one generation of rows to move (`storage.rows`), and does so in slices, each a
synced transaction of its own, while commits go on. Rows of one conversation, of its keys, of one
inbox lie side by side, so a page is written once for many messages. The last slice also says in
`meta` how far the tables have come; until it is committed, a start finds the whole generation in
the journal and moves it again, which changes nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from typing import Final, NamedTuple

import lmdb

from storage.environment import SMALL_TRANSACTION_PAGES, Environment
from storage.rows import ROW_TABLES, Rows
from storage.tables import Folded, Tables, put_folded

SLICES: Final = 64
"""Of one checkpoint: more would sync more often; each of fewer would keep the disk, and Python's
interpreter, from commits and from the event loop for longer.
"""

_GROUP_BYTES: Final = 8
"""Of a key, its conversation or user. Within one, rows come in nearly the order of keys."""


class Checkpoint:
    """One generation's way into the tables. Belongs to the thread that folds."""

    def __init__(self, environment: Environment, rows: Rows, number: int) -> None:
        """`rows` are those of all frames up to `number` that are not in the tables."""
        self._environment = environment
        self._rows = rows
        self._number = number
        self._all = self._left = sum(map(len, rows.values()))
        self._slice = max(1, -(-self._left // SLICES))
        self._tables = iter(ROW_TABLES)
        self._table = b""
        self._keys: list[bytes] = []  # of that table, those that are left, the last one first
        self._taken: list[_Piece] = []

    @property
    def slices_left(self) -> int:
        """How many more calls of `step` it takes; 0 when the tables have all."""
        return -(-self._left // self._slice)

    @property
    def moved(self) -> float:
        """The share of the rows that the tables have."""
        return 1 - self._left / self._all

    def step(self) -> None:
        """Move the next slice. Where it raises, nothing has moved; the next call tries the same.

        Raises:
            lmdb.MapFullError, NoSpaceError: there is no room.
            lmdb.Error: what is on the disk is unknown.
        """
        environment = self._environment
        if not self._taken:
            self._taken = list(self._take())
        taken = sum(len(piece.rows) for piece in self._taken)
        transaction = environment.begin()
        try:
            environment.reserve(_pages_needed(environment, transaction, self._taken))
            for piece in self._taken:
                piece.put(transaction, environment.tables)
            if taken == self._left:
                put_folded(transaction, environment.tables, Folded(self._number, is_whole=False))
            transaction.commit()
        finally:
            transaction.abort()  # does nothing after a commit
        self._left -= taken
        self._taken = []

    def _take(self) -> Iterator[_Piece]:
        """As many rows as make a slice, in the order of tables and keys."""
        room = min(self._slice, self._left)
        while room:
            if not self._keys:
                self._table = next(self._tables)
                self._keys = _in_order(self._rows[self._table])[::-1]
                continue
            keys = self._keys[: -room - 1 : -1]
            del self._keys[-room:]
            room -= len(keys)
            rows = self._rows[self._table]
            yield _Piece(self._table, [(key, rows[key]) for key in keys])


class _Piece(NamedTuple):
    """Rows of one table that go into one transaction, in the order of their keys."""

    table: bytes
    rows: list[tuple[bytes, bytes | None]]

    def put(self, transaction: lmdb.Transaction[bytes], tables: Tables) -> None:
        table = tables[self.table]
        kept = [(key, row) for key, row in self.rows if row is not None]
        if len(kept) < len(self.rows):
            for key, row in self.rows:
                if row is None:
                    transaction.delete(key, db=table)
        with transaction.cursor(table) as lmdb_cursor:
            lmdb_cursor.putmulti(kept)


def _in_order(rows: Collection[bytes]) -> list[bytes]:
    """Sorted group by group: sorting them in one call would keep all other threads waiting."""
    groups = defaultdict(list)
    for key in rows:
        groups[key[:_GROUP_BYTES]].append(key)
    ordered = []
    for group in sorted(groups):
        ordered += sorted(groups[group])
    return ordered


def _pages_needed(
    environment: Environment, transaction: lmdb.Transaction[bytes], pieces: Iterable[_Piece]
) -> int:
    """More pages than the slice can add to the file.

    Every page that changes is written anew; a page that overflows becomes two, of which neither is
    less than a quarter full once the rows are in; and the engine's list of free pages changes too.
    """
    pages = SMALL_TRANSACTION_PAGES
    for name, rows in pieces:
        shape = transaction.stat(environment.tables[name])
        size = sum(len(key) + len(row or b"") + 16 for key, row in rows)
        leaves = min(len(rows), shape["leaf_pages"]) + 4 * (size // environment.page_size + 1)
        branches = min(leaves * shape["depth"], shape["branch_pages"] + leaves // 8)
        pages += 2 * (leaves + branches) + shape["depth"] + 1
    return pages
