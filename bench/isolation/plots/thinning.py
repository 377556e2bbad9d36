"""Less to draw, and nothing hidden: 300,000 sends become some thousand marks.

Whatever is left out lies beside a mark that is later than it; the worst of all is always drawn.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.pages.canvas import FLOOR_MS, Numbers

WIDTHS_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 3_600.0)
INTERVALS_AT_MOST: Final = 150
MARKS_AT_MOST: Final = 1_000
MIN_FOR_P99: Final = 100
"""Fewer in an interval tell nothing about a 99th percentile."""


class Lines(NamedTuple):
    """One value for each interval that has samples, at its middle.

    `p99` is nan where an interval has fewer than `MIN_FOR_P99`.
    """

    at_s: Numbers
    p50: Numbers
    p99: Numbers
    worst: Numbers


class Marks(NamedTuple):
    """Samples picked to stand for all: each is the latest of its cell."""

    at_s: Numbers
    latency_ms: Numbers
    cell_s: float
    cell_factor: float


def interval_s(seconds: float) -> float:
    """A round width, of which about a hundred fill the time."""
    wide = (width for width in WIDTHS_S if seconds / width <= INTERVALS_AT_MOST)
    return next(wide, max(seconds / INTERVALS_AT_MOST, WIDTHS_S[0]))


def percentile(ordered: Numbers, share: float) -> float:
    """The smallest sample that this share of all does not exceed; of sorted ones, at least one."""
    return float(ordered[max(math.ceil(round(share * len(ordered), 6)) - 1, 0)])


def lines(at_s: Numbers, latency_ms: Numbers, width_s: float) -> Lines:
    """The median, the 99th percentile and the worst of each interval."""
    interval = np.floor(at_s / width_s).astype(np.int64)
    order = np.lexsort((latency_ms, interval))
    numbers, starts = np.unique(interval[order], return_index=True)
    groups = np.split(latency_ms[order], starts[1:]) if len(numbers) else []
    p99 = (percentile(one, 0.99) if len(one) >= MIN_FOR_P99 else math.nan for one in groups)
    return Lines(
        _array((numbers + 0.5) * width_s),
        _array(percentile(one, 0.5) for one in groups),
        _array(p99),
        _array(float(one[-1]) for one in groups),
    )


def marks(at_s: Numbers, latency_ms: Numbers, seconds: float) -> Marks:
    """At most `MARKS_AT_MOST` of the later half: the latest of each cell of time and latency.

    The cells grow until the marks are few enough. The worst of all is the latest of its cell. A
    latency that is infinite has a row of cells of its own.
    """
    if len(latency_ms):
        is_late = latency_ms >= percentile(np.sort(latency_ms), 0.5)
        at_s, latency_ms = at_s[is_late], latency_ms[is_late]
    cell_s, per_decade = max(seconds, 1.0) / 400, 24.0
    while True:
        chosen = _latest_of_cells(at_s, latency_ms, cell_s, per_decade)
        if len(chosen) <= MARKS_AT_MOST:
            return Marks(at_s[chosen], latency_ms[chosen], cell_s, 10 ** (1 / per_decade))
        cell_s, per_decade = cell_s * 1.5, per_decade / 1.5


def _latest_of_cells(
    at_s: Numbers, latency_ms: Numbers, cell_s: float, per_decade: float
) -> NDArray[np.int64]:
    finite = np.isfinite(latency_ms)
    level = np.full(len(latency_ms), np.iinfo(np.int64).max)
    height = np.log10(np.maximum(latency_ms[finite], FLOOR_MS)) * per_decade
    level[finite] = np.floor(height).astype(np.int64)
    column = np.floor(at_s / cell_s).astype(np.int64)
    order = np.lexsort((latency_ms, level, column))
    column, level = column[order], level[order]
    is_last = np.ones(len(order), dtype=bool)
    is_last[:-1] = (column[1:] != column[:-1]) | (level[1:] != level[:-1])
    return np.asarray(order[is_last], dtype=np.int64)


def availability(at_s: Numbers, ack_ms: Numbers, width_s: float) -> tuple[Numbers, Numbers]:
    """For each interval that has sends: when it began, and which share was acked in a second."""
    interval = np.floor(at_s / width_s).astype(np.int64)
    numbers, which = np.unique(interval, return_inverse=True)
    if not len(numbers):
        return _array(()), _array(())
    meant = np.bincount(which, minlength=len(numbers))
    acked = np.bincount(which, weights=(ack_ms <= 1_000).astype(np.float64), minlength=len(numbers))
    return _array(numbers * width_s), _array(acked / meant)


def _array(values: Iterable[float]) -> Numbers:
    return np.array(list(values), dtype=np.float64)
