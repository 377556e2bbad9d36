"""How values are spread over fixed bounds: what is kept of many, in constant memory."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate
from math import inf


class Histogram:
    """Counts values up to each bound, and beyond the last. One thread observes, any may read.

    A reader in another thread may see a value in a bound and not yet in `total`, no more than that.
    """

    __slots__ = ("_bounds", "_counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one value; one that equals a bound is within it."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self.total += value

    def cumulative(self) -> Iterator[tuple[float, int]]:
        """Each bound with the number of values up to it; infinity last, with the number of all."""
        return zip((*self._bounds, inf), accumulate(self._counts), strict=True)
