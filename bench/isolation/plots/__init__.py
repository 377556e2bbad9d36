"""Pictures of an experiment, as SVG and PNG; the same bytes for the same experiment.

Importing this package imports matplotlib, which takes half a second: only what draws imports it.
"""

from __future__ import annotations

from bench.isolation.findings import Findings
from bench.isolation.plots.distribution import draw_distribution
from bench.isolation.plots.latency import draw_latency
from bench.isolation.plots.restarts import draw_restarts
from bench.isolation.timeline import Timeline
from bench.pages.canvas import Picture, look


def draw(timeline: Timeline, findings: Findings) -> tuple[Picture, ...]:
    """All pictures, the most telling first."""
    with look():
        return (
            draw_latency(timeline, findings),
            draw_distribution(timeline, findings),
            draw_restarts(timeline, findings),
        )
