"""A store as the offline check sees it: rows with their meaning, and a list of what is wrong."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

from storage.rows import View

MAX_PROBLEMS: Final = 1_000
"""What is found beyond that is counted, not told."""

K = TypeVar("K")
V = TypeVar("V")

_MALFORMED = (ValueError, struct.error)


class Snapshot:
    """All rows that are committed, and the problems found in them so far."""

    def __init__(self, view: View) -> None:
        self._view = view
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
        return self._view.count(table)

    def has(self, table: bytes, key: bytes) -> bool:
        """Whether there is such a row."""
        return self._view.get(table, key) is not None

    def get(self, table: bytes, key: bytes, parse: Callable[[bytes], V]) -> V | None:
        """The meaning of one row; None where there is none, or it has no valid form."""
        row = self._view.get(table, key)
        try:
            return None if row is None else parse(row)
        except _MALFORMED:
            self.problem(f"{table.decode()}: a row has no valid form")
            return None

    def rows(
        self, table: bytes, parse_key: Callable[[bytes], K], parse: Callable[[bytes], V]
    ) -> Iterator[tuple[K, V]]:
        """Every row in key order; one without a valid form is noted and left out."""
        for place, (key, row) in enumerate(self._view.range(table), 1):
            try:
                parsed = parse_key(key), parse(row)
            except _MALFORMED:
                self.problem(f"{table.decode()}: row {place} has no valid form")
                continue
            yield parsed
