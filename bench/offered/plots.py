"""Pictures of a sweep: throughput and latency over the offered load, and the distributions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import cycle
from typing import Final, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.ticker import FuncFormatter

from bench.latency import sum_of
from bench.offered.sweep import LatencyReport, Load, LoadRun
from bench.pages import canvas as c
from bench.pages.canvas import Numbers
from bench.pages.distribution import What, draw_curve, label_panels, panels
from bench.pages.tail import RANKS_AT_MOST, numbers
from bench.pages.wording import latency
from bench.run import GENERATOR_BOUND
from bench.spread import Spread

STYLES: Final = (c.SOLID, c.DASHED, c.DOTTED, c.DASH_DOTTED)


class Line(NamedTuple):
    """One figure of all loads, and how it is drawn."""

    name: str
    color: str
    marker: str
    of: Callable[[Load], Spread]


THROUGHPUT: Final = (
    Line("acked", c.BLUE, "o", lambda load: load.acked_per_s),
    Line("delivered", c.GREEN, "s", lambda load: load.delivered_per_s),
)
ACKS: Final = (
    Line("median", c.GREEN, "o", lambda load: load.ack_p50_ms),
    Line("p99", c.BLUE, "s", lambda load: load.ack_p99_ms),
    Line("p99.9", c.PURPLE, "D", lambda load: load.ack_p999_ms),
    Line("worst", c.VERMILION, "^", lambda load: load.ack_worst_ms),
)
DELIVERIES: Final = (
    Line("median", c.GREEN, "o", lambda load: load.delivery_p50_ms),
    Line("p99", c.BLUE, "s", lambda load: load.delivery_p99_ms),
    Line("p99.9", c.PURPLE, "D", lambda load: load.delivery_p999_ms),
    Line("worst", c.VERMILION, "^", lambda load: load.delivery_worst_ms),
)


def draw(report: LatencyReport) -> tuple[c.Picture, ...]:
    """All pictures, the most telling first.

    Raises:
        ValueError: a histogram in the report cannot be read.
    """
    with c.look():
        return (
            _draw_over_load(report),
            _draw_distribution(report, "ack", lambda run: run.figures.ack_histogram),
            _draw_distribution(report, "delivery", lambda run: run.figures.delivery_histogram),
        )


def _draw_over_load(report: LatencyReport) -> c.Picture:
    most = report.loads[-1]
    p99_ms = most.ack_p99_ms.median
    title = (
        f"At {most.rate_per_s:,.0f} sends per second {most.acked_per_s.median:,.0f} were acked"
        + (f", 99 % of them within {latency(p99_ms)}" if p99_ms else "")
    )
    remark = (
        "Dots are medians of the runs, thin lines reach from the lowest to the highest. Latencies"
        " count from when a send was meant. Hollow: the load generator took more than"
        f" {GENERATOR_BOUND:.0%} of a core, so the figures may be its own."
    )
    made = c.figure(9.4, title, remark)
    above, acks, deliveries = made.subplots(3, 1, sharex=True)
    rates = [load.rate_per_s for load in report.loads]
    above.axline((0, 0), slope=1, color=c.INK, linewidth=0.8, linestyle="dotted", label="offered")
    _draw_lines(above, report.loads, THROUGHPUT)
    above.set(ylabel="messages per second", ylim=(0, None))
    above.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    for axes, lines, what in ((acks, ACKS, "ack"), (deliveries, DELIVERIES, "delivery")):
        _draw_lines(axes, report.loads, lines)
        values = [spread for line in lines for spread in map(line.of, report.loads)]
        known = [one for spread in values for one in (spread.lowest, spread.highest) if one > 0]
        c.latency_axis(axes, "y", c.scale(numbers(known or [1.0])))
        axes.set_ylabel(f"time until the {what} (log)")
    if report.saturation_per_s is not None:
        words = f"saturation, closed loop: {report.saturation_per_s:,.0f}"
        for axes in (above, acks, deliveries):
            axes.axvline(report.saturation_per_s, color=c.AMBER, linestyle="dashed", label=words)
            words = "_"  # in the first legend only
    right = max(*rates, report.saturation_per_s or 0) if len(rates) > 1 else rates[0]
    deliveries.set(xlabel="sends offered per second", xlim=(0, right * 1.05))
    deliveries.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    for axes in (above, acks, deliveries):
        axes.legend(loc="upper left", ncols=4)
    alt = (
        f"{title}. Above, acked and delivered messages per second over the sends offered; below,"
        " median, 99th and 99.9th percentile and worst time until the ack, and until the delivery."
    )
    return c.rendered(made, "over-load", "Throughput and latency over offered load", alt)


def _draw_lines(axes: Axes, loads: Sequence[Load], lines: Sequence[Line]) -> None:
    """What is not above zero was not measured: on a logarithmic axis it would have no place."""
    for line, style in zip(lines, STYLES, strict=False):
        known = [load for load in loads if line.of(load).lowest > 0]
        rates = [load.rate_per_s for load in known]
        spreads = [line.of(load) for load in known]
        medians = [one.median for one in spreads]
        axes.plot(rates, medians, color=line.color, linestyle=style, label=line.name)
        axes.vlines(
            rates,
            [one.lowest for one in spreads],
            [one.highest for one in spreads],
            color=line.color,
            linewidth=0.8,
        )
        for load, median in zip(known, medians, strict=True):
            axes.plot(
                [load.rate_per_s],
                [median],
                line.marker,
                color=line.color,
                markersize=5,
                markerfacecolor="white" if load.generator_bound else line.color,
            )


def _draw_distribution(
    report: LatencyReport, what: What, histogram: Callable[[LoadRun], str]
) -> c.Picture:
    """The share of sends by each time, and below, of those that took at least as long."""
    samples = [_samples(load, what, histogram) for load in report.loads]
    least, most = report.loads[0], report.loads[-1]
    title = (
        f"Time until the {what} at {least.rate_per_s:,.0f} sends per second"
        if least is most
        else f"Time until the {what} at {least.rate_per_s:,.0f} to {most.rate_per_s:,.0f} sends/s"
    )
    remark = (
        f"Of all runs of a load together. Each curve is drawn through at most {RANKS_AT_MOST} of"
        f" its points, the latest among them, and ends in a dot there. Without {what}: never."
    )
    made = c.figure(7.6, title, remark)
    on = panels(made, c.scale(*samples))
    colors = mpl.colormaps["viridis"](np.linspace(0, 0.88, len(samples)))
    drawn = zip(report.loads, samples, colors, cycle(STYLES), strict=False)  # styles go round
    for load, latencies, color, style in drawn:
        if len(latencies):
            label = f"{load.rate_per_s:,.0f} per s"
            draw_curve(on, latencies, label=label, color=to_hex(color), style=style)
    label_panels(on, what, max(len(one) for one in samples), columns=5)
    alt = (
        f"{title}. Above, a cumulative distribution for each load; below, their tails on"
        " logarithmic axes."
    )
    return c.rendered(made, f"{what}-distribution", f"Distribution of {what} latency", alt)


def _samples(load: Load, what: What, histogram: Callable[[LoadRun], str]) -> Numbers:
    """Of all runs, as fine as the histogram; infinite is what never came."""
    buckets = list(sum_of(map(histogram, load.runs)).buckets())
    figures = [run.figures for run in load.runs]
    never = sum(one.unacked if what == "ack" else one.undelivered for one in figures)
    latency_ms = np.repeat(
        numbers([ms for ms, _ in buckets]), np.array([count for _, count in buckets], dtype=int)
    )
    return np.append(latency_ms, np.full(never, np.inf))
