"""What was done about the fault, and what victims had of it, second by second."""

from __future__ import annotations

from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullFormatter, PercentFormatter

from bench.isolation.findings import Findings
from bench.isolation.plots import phases
from bench.isolation.plots.latency import COLUMNS, HAPPENINGS
from bench.isolation.plots.thinning import availability, interval_s
from bench.isolation.timeline import Happening, Timeline
from bench.pages import canvas as c
from bench.pages.canvas import Numbers
from bench.pages.tail import numbers
from bench.pages.wording import if_seen, share

STYLES: Final = (c.SOLID, c.DASHED, c.DOTTED, c.DASH_DOTTED, "dotted", "dashed")
SHORT_S: Final = 30.0
"""What is over sooner is drawn in fifths of a second; in whole ones it would be a few bars."""

LOGARITHMIC_FROM: Final = 30.0
"""How far apart two totals are before one of them would lie on the axis."""


def draw_restarts(timeline: Timeline, findings: Findings) -> c.Picture:
    """Cumulative counts above; below, which share of sends was acked within a second."""
    victims = findings.victims
    title = (
        f"{findings.restarts:,} restarts, {findings.quarantines:,} quarantines,"
        f" {findings.dead_letters:,} dead letters; of the victims' sends"
        f" {share(victims.availability)} were acked within a second"
    )
    whole = phases.whole(timeline)
    restart = findings.time_to_restart
    width_s = 0.2 if whole.ended_s < SHORT_S else max(1.0, interval_s(whole.ended_s / 4))
    each = "second" if width_s == 1 else f"{width_s:g} s"
    remark = (
        f"Above, at most {COLUMNS} steps a line. Below, of the sends that were meant for each"
        f" {each}. From the end of the fault until all victims were acked again:"
        f" {if_seen(victims.recovery_ms)}. From a failure to the restart: median"
        f" {if_seen(restart.p50_ms)}, worst {if_seen(restart.worst_ms)}."
    )
    made = c.figure(6.4, title, remark)
    above, below = made.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [3, 2]})
    _draw_counts(above, timeline)
    _draw_availability(below, timeline, width_s)
    phases.shade_phases(above, timeline, findings.fault)
    phases.shade_phases(below, timeline)
    below.set_xlabel("seconds since the baseline began")
    alt = (
        f"{title}. Above, failures, restarts, quarantines and dead letters counted over time;"
        " below, availability of victims and bystanders in each second."
    )
    return c.rendered(made, "restarts", "Restarts and availability", alt)


def _draw_counts(axes: Axes, timeline: Timeline) -> None:
    totals = []
    for (what, color), style in zip(HAPPENINGS, STYLES, strict=True):
        at_s = np.sort(numbers([one.at_s for one in timeline.moments if one.what == what]))
        if len(at_s):
            _draw_count(axes, timeline, at_s, what, color, style)
            totals.append(len(at_s))
    axes.set_ylabel("count so far")
    if totals and max(totals) > LOGARITHMIC_FROM * min(totals):
        axes.set(yscale="log", ylim=(0.8, max(totals) * 1.6), ylabel="count so far (log)")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_ylim(0, max([*totals, 1]) * 1.1)
    if totals:
        axes.legend(loc="upper left")
    else:
        axes.text(0.5, 0.5, "nothing was recorded", transform=axes.transAxes, ha="center")


def _draw_count(
    axes: Axes,
    timeline: Timeline,
    at_s: Numbers,
    what: Happening,
    color: str,
    style: c.Style,
) -> None:
    """One line, from its first moment to the end of the experiment."""
    ended_s = phases.whole(timeline).ended_s
    count = np.arange(1.0, len(at_s) + 1)
    column = np.floor(at_s / (ended_s / COLUMNS))
    is_last = np.append(column[1:] != column[:-1], True)
    is_last[0] = True
    steps_s = np.append(at_s[is_last], max(ended_s, float(at_s[-1])))
    counts = np.append(count[is_last], len(at_s))
    axes.plot(
        np.insert(steps_s, 0, at_s[0]),
        np.insert(counts, 0, 0.0),
        drawstyle="steps-post",
        color=color,
        linestyle=style,
        linewidth=4 if what == "failed" else 1.6,  # restarts follow it, and would hide it
        alpha=0.45 if what == "failed" else 1,
        label=f"{what}: {len(at_s):,}",
    )


def _draw_availability(axes: Axes, timeline: Timeline, width_s: float) -> None:
    for series, label, color in (
        (timeline.victims, "victims", c.VERMILION),
        (timeline.bystanders, "bystanders", c.BLUE),
    ):
        began_s, part = availability(numbers(series.meant_at_s), numbers(series.ack_ms), width_s)
        if not len(began_s):
            continue
        if label == "victims":
            axes.bar(began_s, part, width_s, align="edge", color=color, alpha=0.3, linewidth=0)
        steps_s, parts = np.append(began_s, began_s[-1] + width_s), np.append(part, part[-1])
        axes.step(steps_s, parts, where="post", color=color, linewidth=1.2, label=label)
    axes.set_ylim(0, 1.05)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    axes.set_ylabel("acked within 1 s")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="lower left")
