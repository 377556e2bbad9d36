"""One figure of several runs."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from msgspec import Struct


class Spread(Struct, frozen=True):
    """Its median, and from where to where it goes."""

    median: float
    lowest: float
    highest: float


def spread(figures: Sequence[float], digits: int = 3) -> Spread:
    """Of at least one."""
    return Spread(*(round(pick(figures), digits) for pick in (median, min, max)))
