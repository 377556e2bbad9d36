"""Pictures of growth: what a message costs, a start and memory, as the store grows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullFormatter

from bench.growth import Cell, GrowthReport
from bench.pages import canvas as c
from bench.run import GENERATOR_BOUND

COLORS: Final = (c.BLUE, c.VERMILION, c.GREEN, c.PURPLE, c.AMBER, c.INK)
MARKERS: Final = "osD^vP"
STYLES: Final = (c.SOLID, c.DASHED, c.DOTTED, c.DASH_DOTTED)

Figure = Callable[[Cell], float | None]


class Row(NamedTuple):
    """One figure, drawn twice: against conversations, and against records."""

    label: str
    of: Figure


COST: Final = (
    Row("wall time for a\nmessage, µs", lambda cell: cell.wall_us_per_message),
    Row("the relay's processor\ntime for one, µs", lambda cell: cell.cpu_us_per_message),
)
START: Final = (
    Row("start, until it is\nready, s", lambda cell: cell.start_seconds),
    Row("memory after the\nstart, MiB", lambda cell: cell.rss_started_kib / 1_024),
    Row("of its own after\nthe load, MiB", lambda cell: cell.own_loaded_kib / 1_024),
)


def draw(report: GrowthReport) -> tuple[c.Picture, ...]:
    """All pictures, the most telling first."""
    remark = (
        "A line joins stores that differ only in what the axis counts. Hollow: the load generator"
        f" took more than {GENERATOR_BOUND:.0%} of a core, so the figures may be its own."
    )
    with c.look():
        return (
            _draw(report, "growth-cost", "Cost of a message", _costs(report), remark, COST),
            _draw(
                report,
                "growth-start",
                "Start and memory",
                "A start, and what the relay holds in memory, on stores of every size",
                f"{remark} Memory of its own is without pages of files, which the system may take.",
                START,
            ),
        )


def _costs(report: GrowthReport) -> str:
    ratios = [cell.wall_ratio for cell in report.cells if cell.wall_ratio is not None]
    title = "What a message costs on stores of every size"
    return f"{title}: at most {max(ratios):.2f} × the smallest" if ratios else title


def _draw(
    report: GrowthReport, name: str, caption: str, title: str, remark: str, rows: Sequence[Row]
) -> c.Picture:
    made = c.figure(0.9 + 2.3 * len(rows), title, remark)
    grid = made.subplots(len(rows), 2, sharex="col", sharey="row", squeeze=False)
    for (left, right), row in zip(grid, rows, strict=True):
        _draw_lines(left, report.cells, row.of, _conversations, _records, "records")
        _draw_lines(right, report.cells, row.of, _records, _conversations, "conversations")
        left.set_ylabel(row.label)
        highest = max((y for cell in report.cells if (y := row.of(cell)) is not None), default=0.0)
        left.set_ylim(0, 1.12 * highest or 1.0)
    for axes, label in zip(grid[-1], ("conversations (log)", "records (log)"), strict=True):
        axes.set_xlabel(label)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    for axes in grid[0]:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2, borderaxespad=0.2)
    what = "; ".join(row.label.replace("\n", " ") for row in rows)
    alt = f"{title}. On the left against conversations, on the right against records: {what}."
    return c.rendered(made, name, caption, alt)


def _conversations(cell: Cell) -> int:
    return cell.conversations


def _records(cell: Cell) -> int:
    return cell.records


def _draw_lines(
    axes: Axes,
    cells: Sequence[Cell],
    of: Figure,
    along: Callable[[Cell], int],
    each: Callable[[Cell], int],
    what: str,
) -> None:
    """A line for each number of what is not on the axis."""
    for number, value in enumerate(sorted({each(cell) for cell in cells})):
        color, style = COLORS[number % len(COLORS)], STYLES[number % len(STYLES)]
        marker = MARKERS[number % len(MARKERS)]
        on_line = sorted((cell for cell in cells if each(cell) == value), key=along)
        points = [(cell, y) for cell in on_line if (y := of(cell)) is not None]
        label = f"{value:,} {what}"
        places = [along(cell) for cell, _ in points]
        axes.plot(places, [y for _, y in points], color=color, linestyle=style, label=label)
        for cell, y in points:
            face = "white" if cell.generator_bound else color
            axes.plot([along(cell)], [y], marker, color=color, markersize=5, markerfacecolor=face)
