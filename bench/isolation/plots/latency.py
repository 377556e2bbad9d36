"""Latency over time: bystanders above, victims below, and between what happened and when."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from bench.isolation.findings import Findings
from bench.isolation.plots import phases
from bench.isolation.plots.thinning import Marks, interval_s, lines, marks
from bench.isolation.timeline import Happening, Series, Timeline
from bench.isolation.wording import headline, of_bystanders
from bench.pages import canvas as c
from bench.pages.canvas import Numbers
from bench.pages.tail import numbers
from bench.pages.wording import latency

HAPPENINGS: Final[tuple[tuple[Happening, str], ...]] = (
    ("failed", c.VERMILION),
    ("restarted", c.GREEN),
    ("quarantined", c.PURPLE),
    ("dead letter", c.AMBER),
    ("cut off", c.BLUE),
    ("stopped", c.INK),
)
COLUMNS: Final = 240
"""Of what happens more often within one of these, one mark is drawn."""


def draw_latency(timeline: Timeline, findings: Findings) -> c.Picture:
    """Every interval's percentiles, and the latest of each cell of time and latency."""
    title = headline(findings)
    bystanders, victims = timeline.bystanders, timeline.victims
    bounds = numbers([ms for _, ms, _ in phases.bounds(findings)])
    width_s = interval_s(phases.whole(timeline).ended_s)
    chosen = tuple(
        marks(numbers(one.meant_at_s), numbers(one.ack_ms), phases.whole(timeline).ended_s)
        for one in (bystanders, victims)
    )
    made = c.figure(8.2, title, _remark(bystanders, victims, chosen[0]))
    above, between, below = made.subplots(
        3, 1, sharex=True, gridspec_kw={"height_ratios": [5, 1.25, 3.6]}
    )
    _draw_group(above, bystanders, chosen[0], Group("bystanders", c.BLUE, width_s, bounds))
    _draw_bounds(above, timeline, findings)
    _draw_moments(between, timeline)
    _draw_group(below, victims, chosen[1], Group("victims", c.VERMILION, width_s, numbers(())))
    _label(above, between, below, timeline, findings)
    alt = (
        f"{title}. Above, the ack latency of bystanders over time with the allowed p99 and worst;"
        f" between, what happened to victims; below, the ack latency of victims. The worst of"
        f" bystanders in the fault: {of_bystanders(findings, findings.bystanders.worst_ms)}."
    )
    return c.rendered(made, "latency", "Latency over time", alt)


class Group(NamedTuple):
    """How bystanders or victims are drawn."""

    name: str
    color: str
    width_s: float
    bounds_ms: Numbers


def _draw_group(axes: Axes, series: Series, chosen: Marks, group: Group) -> None:
    at_s, ack_ms = numbers(series.meant_at_s), numbers(series.ack_ms)
    acks = lines(at_s, ack_ms, group.width_s)
    deliveries = lines(at_s, numbers(series.delivery_ms), group.width_s)
    scale = c.scale(chosen.latency_ms, acks.p50, deliveries.p99, group.bounds_ms)
    _draw_samples(axes, chosen, group, scale)

    def line(at_s: Numbers, latency_ms: Numbers, label: str, style: c.Style = c.SOLID) -> Line2D:
        place = scale.place(latency_ms)
        return axes.plot(at_s, place, color=group.color, label=label, linestyle=style)[0]

    line(acks.at_s, acks.worst, "worst").set_linewidth(0.7)
    if not np.isnan(acks.p99).all():
        line(acks.at_s, acks.p99, "p99").set_linewidth(1.8)
    if not np.isnan(deliveries.p99).all():
        line(deliveries.at_s, deliveries.p99, "p99 of delivery", c.DASHED).set_color(c.AMBER)
    line(acks.at_s, acks.p50, "median").set_color(c.INK)
    if not len(ack_ms):
        words = f"no sends to {group.name}"
        axes.text(0.5, 0.5, words, transform=axes.transAxes, ha="center")
    else:
        _ring_the_worst(axes, at_s, ack_ms, group.name, scale)
    c.latency_axis(axes, "y", scale)


def _draw_samples(axes: Axes, chosen: Marks, group: Group, scale: c.Scale) -> None:
    """A dot for each mark."""
    place = scale.place(chosen.latency_ms)
    # Long enough to be drawn at all: a line without length has no ends to round.
    ended_s = chosen.at_s + chosen.cell_s / 50
    c.strokes(
        axes,
        np.column_stack((chosen.at_s, place)),
        np.column_stack((ended_s, place)),
        color=group.color,
        width=1.8,
        alpha=0.22,
        gid=f"{group.name}-samples",
    )


def _ring_the_worst(axes: Axes, at_s: Numbers, ack_ms: Numbers, name: str, scale: c.Scale) -> None:
    """Mark the latest of all, and how many were never acked."""
    worst = int(np.argmax(ack_ms))
    never = int(np.isinf(ack_ms).sum())
    words = f"{never:,} never acked" if never else f"worst {latency(float(ack_ms[worst]))}"
    place = scale.place(ack_ms[worst : worst + 1])
    axes.plot(
        at_s[worst : worst + 1],
        place,
        marker="o",
        markersize=6,
        markerfacecolor="none",
        color=c.INK,
        linestyle="none",
        gid=f"{name}-worst",
    )
    is_late = at_s[worst] > 0.8 * axes.get_xlim()[1] or at_s[worst] > 0.8 * at_s[-1]
    axes.annotate(
        words,
        (float(at_s[worst]), float(place[0])),
        xytext=(-7 if is_late else 7, -9 if never else 0),  # below the line of never
        textcoords="offset points",
        ha="right" if is_late else "left",
        va="center",
        fontsize=8,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.8},
    )


def _draw_bounds(axes: Axes, timeline: Timeline, findings: Findings) -> None:
    """What I17 allows, as long as the fault lasts."""
    began, ended = timeline.phases["fault"]
    for name, allowed_ms, style in phases.bounds(findings):
        label = f"{name}, {latency(allowed_ms)} (I17)"
        axes.plot([began, ended], [allowed_ms] * 2, c.INK, linestyle=style, label=label)


def _draw_moments(axes: Axes, timeline: Timeline) -> None:
    """A row for each kind of thing that happened, a mark for each time it did."""
    column_s = phases.whole(timeline).ended_s / COLUMNS
    rows: list[str] = []
    for what, color in HAPPENINGS:
        at_s = np.sort(numbers([one.at_s for one in timeline.moments if one.what == what]))
        if not len(at_s):
            continue
        _, first = np.unique(np.floor(at_s / column_s), return_index=True)
        kept, row = at_s[first], np.full(len(first), float(len(rows)))
        c.strokes(
            axes,
            np.column_stack((kept, row - 0.32)),
            np.column_stack((kept, row + 0.32)),
            color=color,
            width=1.3,
            alpha=1,
            gid=f"moments-{what.replace(' ', '-')}",
        )
        rows.append(f"{what}: {len(at_s):,}")
    axes.set_yticks(range(len(rows)), rows)
    axes.set_ylim(max(len(rows), 1) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    if not rows:
        axes.text(0.5, 0.5, "nothing was recorded", transform=axes.transAxes, ha="center")


def _label(above: Axes, between: Axes, below: Axes, timeline: Timeline, findings: Findings) -> None:
    victims, bystanders = findings.victims.conversations, findings.bystanders.conversations
    phases.shade_phases(above, timeline, findings.fault)
    phases.shade_phases(between, timeline)
    phases.shade_phases(below, timeline)
    above.set_ylabel(f"{bystanders:,} bystanders\ntime until the ack")
    below.set_ylabel(f"{victims:,} victims\ntime until the ack")
    below.set_xlabel("seconds since the baseline began")
    above.legend(loc="upper left", ncols=3, bbox_to_anchor=(0, 1.19), borderaxespad=0)
    below.legend(loc="lower left", ncols=4, bbox_to_anchor=(0, 1.0), borderaxespad=0.2)
    between.tick_params(axis="y", length=0, labelsize=8)


def _remark(bystanders: Series, victims: Series, drawn: Marks) -> str:
    count = len(bystanders.ack_ms) + len(victims.ack_ms)
    return (
        f"{count:,} sends, counted from when each was meant to be sent. The lines are of all of"
        f" them. Dots are of the later half, each the latest of its cell (bystanders:"
        f" {drawn.cell_s:.2g} s by a factor of {drawn.cell_factor:.2f})."
        f" Of what happened, one mark for each 1/{COLUMNS} of the time. The two scales differ."
    )
