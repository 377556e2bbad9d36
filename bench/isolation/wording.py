"""Findings in words: the one sentence that matters, and figures as people write them."""

from __future__ import annotations

import math
from typing import Final

from bench.isolation.findings import Conclusion, Findings

NEVER: Final = "never"
UNKNOWN: Final = "–"

_BEGINNINGS: Final[dict[Conclusion, str]] = {
    "isolated": "Isolated",
    "not isolated": "Not isolated",
    "not enough data": "Not enough data",
    "quick run, no result": "Quick run, no result",
}


def of_bystanders(findings: Findings, latency_ms: float | None) -> str:
    """A latency of theirs: null is for ever, unless there was nothing to measure."""
    return latency(latency_ms) if findings.bystanders.samples else UNKNOWN


def headline(findings: Findings) -> str:
    """The conclusion, and the two figures it compares."""
    bystanders = findings.bystanders
    beginning = _BEGINNINGS[findings.conclusion]
    if not bystanders.samples:
        return f"{beginning}: no bystander's send was measured ({findings.fault})"
    return (
        f"{beginning}: bystanders' ack p99 was {latency(bystanders.fault_p99_ms)}"
        f" in the fault ({findings.fault}), {latency(bystanders.baseline_p99_ms)} before it;"
        f" allowed: {bound(bystanders.allowed_p99_ms)}"
    )


def broken(findings: Findings) -> str:
    """Which promises the checker saw broken, as a sentence; empty where none was."""
    names = findings.checker.violated
    return f"The checker saw broken: {', '.join(names)}." if names else ""


def unread(findings: Findings) -> str:
    """How many inboxes could not be read at the end, without a full stop; empty where all could."""
    count = findings.unread
    return (
        f"{count:,} inboxes could not be read at the end; nothing is known of what they hold"
        if count
        else ""
    )


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


def bound(milliseconds: float | None) -> str:
    """What is allowed; after a baseline that was infinitely late, anything."""
    if milliseconds is None or math.isinf(milliseconds):
        return "anything"
    return latency(milliseconds)


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
