"""Moves committed rows from the journal into LMDB's tables, many at a time, in the order of keys.

A checkpoint has one generation of rows to move (`storage.rows`), and does so in slices, each a
synced transaction of its own, while commits go on. Rows of one conversation, of its keys, of one
inbox lie side by side, so a page is written once for many messages. The last slice also says in
`meta` how far the tables have come; until it is committed, a start finds the whole generation in
the journal and moves it again, which changes nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from typing import Final

import lmdb

from storage.environment import Environment
from storage.rows import ROW_TABLES, Rows
from storage.tables import Folded, put_folded

SLICES: Final = 16
"""Of one checkpoint: more would sync more often, fewer would keep the disk busy for longer."""

_GROUP_BYTES: Final = 8
"""Of a key, its conversation or user. Within one, rows come in nearly the order of keys."""

_Item = tuple[bytes, bytes, bytes | None]


class Checkpoint:
    """One generation's way into the tables. Belongs to the thread that folds."""

    def __init__(self, environment: Environment, rows: Rows, number: int) -> None:
        """`rows` are those of all frames up to `number` that are not in the tables."""
        self._environment = environment
        self._number = number
        self._left = sum(map(len, rows.values()))
        self._slice = max(1, -(-self._left // SLICES))
        self._items = chain.from_iterable(_in_order(table, rows[table]) for table in ROW_TABLES)
        self._taken: list[_Item] = []

    @property
    def slices_left(self) -> int:
        """How many more calls of `step` it takes; 0 when the tables have all."""
        return -(-self._left // self._slice)

    def step(self) -> None:
        """Move the next slice. Where it raises, nothing has moved; the next call tries the same.

        Raises:
            lmdb.MapFullError, NoSpaceError: there is no room.
            lmdb.Error: what is on the disk is unknown.
        """
        environment = self._environment
        if not self._taken:
            self._taken = list(islice(self._items, self._slice))
        is_last = self._left <= len(self._taken)
        transaction = environment.begin()
        try:
            environment.reserve(_pages_needed(environment, transaction, self._taken))
            _put(environment, transaction, self._taken)
            if is_last:
                put_folded(transaction, environment.tables, Folded(self._number, is_whole=False))
            transaction.commit()
        finally:
            transaction.abort()  # does nothing after a commit
        self._left -= len(self._taken)
        self._taken = []


def _in_order(table: bytes, rows: Mapping[bytes, bytes | None]) -> Iterator[_Item]:
    """Group by group, so that nothing as long as a whole table is sorted in one call."""
    groups = defaultdict(list)
    for key in rows:
        groups[key[:_GROUP_BYTES]].append(key)
    for group in sorted(groups):
        for key in sorted(groups[group]):
            yield table, key, rows[key]


def _put(
    environment: Environment, transaction: lmdb.Transaction[bytes], items: Iterable[_Item]
) -> None:
    for name, rows in _by_table(items).items():
        table = environment.tables[name]
        for key, row in rows:
            if row is None:
                transaction.delete(key, db=table)
        with transaction.cursor(table) as lmdb_cursor:
            lmdb_cursor.putmulti([(key, row) for key, row in rows if row is not None])


def _by_table(items: Iterable[_Item]) -> dict[bytes, list[tuple[bytes, bytes | None]]]:
    tables = defaultdict(list)
    for table, key, row in items:
        tables[table].append((key, row))
    return tables


def _pages_needed(
    environment: Environment, transaction: lmdb.Transaction[bytes], items: Iterable[_Item]
) -> int:
    """More pages than the slice can add to the file.

    Every page that changes is written anew; a page that overflows becomes two, of which neither is
    less than a quarter full once the rows are in; and the engine's list of free pages changes too.
    """
    pages = 64
    for name, rows in _by_table(items).items():
        shape = transaction.stat(environment.tables[name])
        size = sum(len(key) + len(row or b"") + 16 for key, row in rows)
        leaves = min(len(rows), shape["leaf_pages"]) + 4 * (size // environment.page_size + 1)
        branches = min(leaves * shape["depth"], shape["branch_pages"] + leaves // 8)
        pages += 2 * (leaves + branches) + shape["depth"] + 1
    return pages
