"""What the pictures of an experiment show beside latencies: its phases, and what I17 allows."""

from __future__ import annotations

import math
from typing import Final

from matplotlib.axes import Axes

from bench.isolation.findings import Findings
from bench.isolation.timeline import Span, Timeline
from bench.pages.canvas import SHADE

ALLOWED_P99: Final = "allowed p99"
ALLOWED_WORST: Final = "allowed worst"


def shade_phases(axes: Axes, timeline: Timeline, fault: str | None = None) -> None:
    """Shade the time of the fault; where its name is given, name the phases above the axes."""
    for phase, (began, ended) in timeline.phases.items():
        if phase == "fault":
            axes.axvspan(began, ended, color=SHADE, zorder=0, linewidth=0)
        if fault is not None:
            axes.annotate(
                f"fault: {fault}" if phase == "fault" else phase,
                ((began + ended) / 2, 1),
                xycoords=("data", "axes fraction"),
                xytext=(0, 3),
                textcoords="offset points",
                ha="center",
                fontsize=8,
            )
    axes.set_xlim(*whole(timeline))


def whole(timeline: Timeline) -> Span:
    """From the beginning of the first phase to the end of the last."""
    spans = timeline.phases.values()
    return Span(min(one.began_s for one in spans), max(one.ended_s for one in spans))


def bounds(findings: Findings) -> list[tuple[str, float, str]]:
    """What I17 allows bystanders, where it is bounded: its name, milliseconds, and its line."""
    bystanders = findings.bystanders
    allowed = (
        (ALLOWED_P99, bystanders.allowed_p99_ms, "--"),
        (ALLOWED_WORST, bystanders.allowed_worst_ms, ":"),
    )
    return [
        (name, ms, style) for name, ms, style in allowed if ms is not None and math.isfinite(ms)
    ]
