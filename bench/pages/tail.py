"""A distribution in few points, fine where it matters: towards the worst."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from bench.pages.canvas import Numbers

RANKS_AT_MOST: Final = 250


class Tail(NamedTuple):
    """Of sorted samples: a latency, the share at or below it, and the share at or above it."""

    latency_ms: Numbers
    share_up_to: Numbers
    share_from: Numbers


def numbers(values: object) -> Numbers:
    """An `array` as numpy sees it."""
    return np.asarray(values, dtype=np.float64)


def tail(latency_ms: Numbers) -> Tail:
    """At most `RANKS_AT_MOST`: even steps of the share, and ever finer ones towards the worst."""
    ordered = np.sort(latency_ms)
    count = len(ordered)
    if not count:
        return Tail(ordered, ordered, ordered)
    even = np.linspace(0, count - 1, RANKS_AT_MOST // 2)
    fine = count - np.geomspace(1, count, RANKS_AT_MOST // 2)
    ranks = np.unique(np.concatenate((even, fine)).round().astype(np.int64))
    return Tail(ordered[ranks], (ranks + 1) / count, (count - ranks) / count)
