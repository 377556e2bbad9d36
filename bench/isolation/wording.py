"""Findings in words: the one sentence that matters, and what is allowed."""

from __future__ import annotations

import math
from typing import Final

from bench.isolation.findings import Conclusion, Findings
from bench.pages.wording import UNKNOWN, latency

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


def bound(milliseconds: float | None) -> str:
    """What is allowed; after a baseline that was infinitely late, anything."""
    if milliseconds is None or math.isinf(milliseconds):
        return "anything"
    return latency(milliseconds)
