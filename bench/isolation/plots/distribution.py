"""How latency is distributed: bystanders before, in and after the fault, and victims in it."""

from __future__ import annotations

from typing import Final, NamedTuple

from matplotlib.axes import Axes

from bench.isolation.findings import Findings
from bench.isolation.plots import phases
from bench.isolation.timeline import Phase, Timeline
from bench.isolation.wording import bound, of_bystanders
from bench.pages import canvas as c
from bench.pages.canvas import Numbers
from bench.pages.distribution import draw_curve, label_panels, panels
from bench.pages.tail import RANKS_AT_MOST, numbers
from bench.pages.wording import latency


class Curve(NamedTuple):
    """Whose sends, of which phase, and how they are drawn."""

    group: str
    phase: Phase
    color: str
    style: c.Style


CURVES: Final = (
    Curve("bystanders", "baseline", c.INK, c.SOLID),
    Curve("bystanders", "fault", c.BLUE, c.DASHED),
    Curve("bystanders", "recovery", c.GREEN, c.DOTTED),
    Curve("victims", "fault", c.VERMILION, c.DASH_DOTTED),
)


def draw_distribution(timeline: Timeline, findings: Findings) -> c.Picture:
    """The share acked by each time, and below, the share of those that took at least as long."""
    bystanders = findings.bystanders
    title = (
        f"In the fault ({findings.fault}) the worst of bystanders' sends took"
        f" {of_bystanders(findings, bystanders.worst_ms)}; before it"
        f" {of_bystanders(findings, bystanders.baseline_worst_ms)};"
        f" allowed: {bound(bystanders.allowed_worst_ms)}"
    )
    samples = [_of_phase(timeline, curve) for curve in CURVES]
    bounds = numbers([ms for _, ms, _ in phases.bounds(findings)])
    scale = c.scale(*samples, bounds)
    made = c.figure(
        7.6,
        title,
        f"Each curve is drawn through at most {RANKS_AT_MOST} of its samples, the latest among"
        " them, and ends in a dot there. What was not acked took for ever.",
    )
    on = panels(made, scale)
    for curve, latencies in zip(CURVES, samples, strict=True):
        if len(latencies):
            label = f"{curve.group}, {curve.phase} ({len(latencies):,} sends)"
            end = f"{curve.group}-{curve.phase}-worst"
            draw_curve(on, latencies, label=label, color=curve.color, style=curve.style, gid=end)
    _draw_bounds(on.below, findings)
    label_panels(on, "ack", max(len(one) for one in samples), columns=2)
    alt = (
        f"{title}. Above, cumulative distributions of ack latency; below, their tails on"
        " logarithmic axes, with what is allowed."
    )
    return c.rendered(made, "distribution", "Distribution of latency", alt)


def _of_phase(timeline: Timeline, curve: Curve) -> Numbers:
    series = timeline.bystanders if curve.group == "bystanders" else timeline.victims
    at_s, ack_ms = numbers(series.meant_at_s), numbers(series.ack_ms)
    began, ended = timeline.phases[curve.phase]
    return ack_ms[(at_s >= began) & (at_s < ended)]


def _draw_bounds(axes: Axes, findings: Findings) -> None:
    """I17 as two walls: at most 1 % beyond the first, nothing beyond the second."""
    for name, allowed_ms, style in phases.bounds(findings):
        top = 0.01 if name == phases.ALLOWED_P99 else 1.0
        label = f"{name} of bystanders, {latency(allowed_ms)} (I17)"
        axes.plot([allowed_ms] * 2, [top, 1e-12], c.INK, linestyle=style, label=label)
        if top < 1:
            axes.plot([allowed_ms, 1e12], [top] * 2, c.INK, linestyle=style)
