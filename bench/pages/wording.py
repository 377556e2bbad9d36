"""Figures as people write them."""

from __future__ import annotations

import math
from typing import Final

NEVER: Final = "never"
UNKNOWN: Final = "–"


def latency(milliseconds: float | None) -> str:
    """A latency to three figures; an infinite one, null in JSON, has never ended."""
    if milliseconds is None or math.isinf(milliseconds):
        return NEVER
    if math.isnan(milliseconds):
        return UNKNOWN
    if milliseconds >= 10_000:
        return f"{milliseconds / 1_000:,.1f} s"
    return f"{milliseconds:,.{_decimals(milliseconds)}f} ms"


def _decimals(value: float) -> int:
    return 0 if value >= 100 else 1 if value >= 10 else 2


def if_seen(milliseconds: float | None) -> str:
    """A latency that may not have been seen at all."""
    return UNKNOWN if milliseconds is None else latency(milliseconds)


def share(part: float | None) -> str:
    """A share in per cent. One that is not whole is never rounded to it."""
    if part is None or not math.isfinite(part):
        return UNKNOWN
    if part < 0.99 or part >= 1:
        return f"{part * 100:.3g} %"
    return f"{min(99.99, part * 100):.2f} %"


def ratio(times: float | None) -> str:
    """How many times as much."""
    return UNKNOWN if times is None or not math.isfinite(times) else f"{times:.2f} ×"


def rate(per_second: float | None) -> str:
    """Sends a second."""
    return UNKNOWN if per_second is None else f"{per_second:,.1f} per s"
