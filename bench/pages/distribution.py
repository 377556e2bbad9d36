"""Distributions of latency: above, the share that was done by then; below, the tail."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter, PercentFormatter

from bench.pages import canvas as c
from bench.pages.canvas import Numbers
from bench.pages.tail import tail

What = Literal["ack", "delivery"]
DONE: Final[dict[What, str]] = {"ack": "acked", "delivery": "delivered"}


class Panels(NamedTuple):
    """The two axes; what took for ever has its place on `scale`."""

    above: Axes
    below: Axes
    scale: c.Scale


def panels(made: Figure, scale: c.Scale) -> Panels:
    """Two axes in this figure, one above the other."""
    above, below = made.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [2, 3]})
    return Panels(above, below, scale)


def draw_curve(
    on: Panels,
    latency_ms: Numbers,
    *,
    label: str,
    color: str,
    style: c.Style,
    gid: str | None = None,
) -> None:
    """One distribution, of at least one sample; below it ends in a dot at the latest."""
    curve = tail(latency_ms)
    place, finite = on.scale.place(curve.latency_ms), np.isfinite(curve.latency_ms)
    for axes, at, part, steps in (
        (on.above, place[finite], curve.share_up_to[finite], "steps-post"),
        (on.below, place, curve.share_from, "steps-pre"),
    ):
        axes.plot(
            at, part, drawstyle=steps, color=color, linestyle=style, linewidth=1.6, label=label
        )
    on.below.plot(place[-1:], curve.share_from[-1:], "o", markersize=4, color=color, gid=gid)


def label_panels(on: Panels, what: What, samples: int, columns: int) -> None:
    """What the axes are, and a legend; `samples` are those of the largest distribution."""
    above, below, scale = on
    above.set_ylim(0, 1.02)
    above.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    above.set_ylabel(f"share of sends\n{DONE[what]} by then")
    below.set(yscale="log", ylim=(1 / max(1, samples) / 2, 1.6))
    below.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value * 100:g} %"))
    below.yaxis.set_minor_formatter(NullFormatter())
    below.set_ylabel("share of sends that took\nat least as long (log)")
    below.set_xlabel(f"time until the {what} (log)")
    for axes in (above, below):
        c.latency_axis(axes, "x", scale)
    if below.get_legend_handles_labels()[0]:  # there is one at least
        below.legend(
            loc="upper center", ncols=columns, bbox_to_anchor=(0.45, -0.17), borderaxespad=0
        )
