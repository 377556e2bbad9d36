"""What all pictures share: one palette, one look, and the same bytes for the same figures.

Only matplotlib's objects are used, never its global state, and only the font it brings along.
"""

from __future__ import annotations

import io
import math
import re
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter
from matplotlib.typing import RcKeyType
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


# Of Okabe and Ito: told apart by people who see colours otherwise, and in grey by their lines.
INK: Final = "#333333"
BLUE: Final = "#0072B2"
VERMILION: Final = "#D55E00"
GREEN: Final = "#007A5A"
PURPLE: Final = "#A0457E"
AMBER: Final = "#B37700"
SHADE: Final = "#EEEBE3"

WIDTH_INCHES: Final = 8.6
PNG_DPI: Final = 150
TITLE_COLUMNS: Final = 82
REMARK_COLUMNS: Final = 150
FLOOR_MS: Final = 0.01
"""What is faster is drawn here; a logarithmic axis has no zero."""

_LOOK: Final[dict[RcKeyType, object]] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9.0,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#D5D5D5",
    "grid.linewidth": 0.5,
    "legend.fontsize": 8.0,
    "legend.frameon": False,
    "lines.linewidth": 1.3,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "svg.fonttype": "path",
    "svg.hashsalt": "isolation",  # whatever it is, it stays: ids of pictures that are published
    "text.parse_math": False,
}


Style = str | tuple[float, Sequence[float]]
SOLID: Final[Style] = "solid"
DASHED: Final[Style] = (0, (6, 1.5))
DOTTED: Final[Style] = (0, (1.2, 1.2))
DASH_DOTTED: Final[Style] = (0, (6, 1.5, 1.2, 1.5))


class Picture(NamedTuple):
    """One drawing, in both forms. `alt` says what it shows to whom does not see it."""

    name: str
    title: str
    alt: str
    svg: bytes
    png: bytes


class Scale(NamedTuple):
    """A logarithmic axis of latencies; what never happened has a place beyond its end."""

    low: float
    high: float
    never: float | None

    @property
    def end(self) -> float:
        """Where the axis ends."""
        return self.high if self.never is None else self.never * 1.25

    def place(self, latency_ms: Numbers) -> Numbers:
        """Where latencies are drawn."""
        never = math.inf if self.never is None else self.never
        return np.where(np.isinf(latency_ms), never, np.maximum(latency_ms, self.low))


@contextmanager
def look() -> Iterator[None]:
    """The project's look, and nothing of what this machine has configured."""
    with mpl.rc_context():
        # All but the backend: to ask for that is to choose one, by way of pyplot.
        mpl.rcParams.update(
            {key: mpl.rcParamsDefault[key] for key in mpl.rcParamsDefault if key != "backend"}
        )
        mpl.rcParams.update(_LOOK)
        yield


def figure(height_inches: float, title: str, remark: str) -> Figure:
    """An empty figure under its title; the remark, such as what was left out, stands below."""
    made = Figure(figsize=(WIDTH_INCHES, height_inches))
    below = textwrap.wrap(remark, REMARK_COLUMNS)
    foot = (0.06 + 0.13 * len(below)) / height_inches
    made.set_layout_engine(
        ConstrainedLayoutEngine(h_pad=0.06, w_pad=0.06, rect=(0, foot, 1, 1 - foot))
    )
    made.suptitle(_balanced(title), x=0.012, ha="left", fontsize=11, fontweight="bold")
    made.text(0.012, 0.008, "\n".join(below), fontsize=7, color="#595959", va="bottom")
    return made


def _balanced(title: str) -> str:
    """The title in as few lines as it needs, none of them much shorter than the others."""
    needed = len(textwrap.wrap(title, TITLE_COLUMNS))
    for columns in range(math.ceil(len(title) / needed), TITLE_COLUMNS + 1):
        if len(textwrap.wrap(title, columns)) == needed:
            return textwrap.fill(title, columns)
    return textwrap.fill(title, TITLE_COLUMNS)


def rendered(made: Figure, name: str, title: str, alt: str) -> Picture:
    """The figure as SVG and PNG, without a date, a name or a version in them."""
    svg, png = io.BytesIO(), io.BytesIO()
    _lay_out(made)
    unsaid = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    made.savefig(svg, format="svg", metadata=unsaid)
    made.savefig(png, format="png", dpi=PNG_DPI, metadata={"Software": None})
    return Picture(name, title, alt, _rounded(svg.getvalue()), png.getvalue())


def _lay_out(made: Figure) -> None:
    """Place the axes once, for both forms.

    The solver's last digits depend on where in memory its variables lie; rounded they do not.
    """
    made.draw_without_rendering()
    made.set_layout_engine("none")
    for axes in made.axes:
        left, bottom, width, height = (round(part, 5) for part in axes.get_position().bounds)
        axes.set_position((left, bottom, width, height))


def _rounded(svg: bytes) -> bytes:
    """Lines to a hundredth of a point, finer than any printer: a quarter less to load."""

    def line(found: re.Match[bytes]) -> bytes:
        return re.sub(rb"(\.\d\d)\d+", rb"\1", found[0])

    return re.sub(rb'^ *(<path d="M|L) [^<>]*?$', line, svg, flags=re.MULTILINE)


def scale(*latencies_ms: Numbers) -> Scale:
    """An axis on which all of them have a place."""
    together = np.concatenate([one[~np.isnan(one)] for one in latencies_ms])
    finite = together[np.isfinite(together)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (1.0, 10.0)
    low = max(low, FLOOR_MS) / 1.3
    high = max(high, low * 10) * 1.4
    return Scale(low, high, high * 1.5 if np.isinf(together).any() else None)


def ticks(chosen: Scale) -> tuple[FixedLocator, FixedLocator, FuncFormatter]:
    """Where an axis has its labels, its small marks, and how they are written."""
    decades = range(math.floor(math.log10(chosen.low)), math.ceil(math.log10(chosen.high)) + 1)
    steps = (1,) if len(decades) > 4 else (1, 3)
    major = [step * 10.0**decade for decade in decades for step in steps]
    minor = [step * 10.0**decade for decade in decades for step in range(2, 10)]
    inside = [value for value in major if chosen.low <= value <= chosen.high]
    if chosen.never is not None:
        inside = [value for value in inside if value * 1.3 < chosen.never] + [chosen.never]

    def label(value: float, _: object) -> str:
        return "never" if value == chosen.never else short(value)

    small = [value for value in minor if chosen.low <= value <= chosen.high]
    return FixedLocator(inside), FixedLocator(small), FuncFormatter(label)


def latency_axis(axes: Axes, which: str, chosen: Scale) -> None:
    """Make the axis `x` or `y` one of latencies."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    axes.set(**{f"{which}scale": "log", f"{which}lim": (chosen.low, chosen.end)})
    major, minor, label = ticks(chosen)
    axis.set_major_locator(major)
    axis.set_minor_locator(minor)
    axis.set_major_formatter(label)
    axis.set_minor_formatter(NullFormatter())


def short(latency_ms: float) -> str:
    """A latency in as few signs as an axis has room for."""
    seconds = latency_ms >= 1_000
    return f"{latency_ms / 1_000:g} s" if seconds else f"{latency_ms:g} ms"


def strokes(
    axes: Axes, began: Numbers, ended: Numbers, *, color: str, width: float, alpha: float, gid: str
) -> None:
    """Many short lines as one path, which in SVG takes a fifth of as many elements."""
    points = np.empty((2 * len(began), 2))
    points[0::2], points[1::2] = began, ended
    codes = np.tile(np.array([Path.MOVETO, Path.LINETO], dtype=Path.code_type), len(began))
    path = Path(points, codes)
    path.should_simplify = False
    patch = PathPatch(
        path, fill=False, edgecolor=color, linewidth=width, alpha=alpha, capstyle="round"
    )
    patch.set_gid(gid)
    patch.set_snap(False)
    axes.add_patch(patch)
