"""The cells as a part of a page."""

from __future__ import annotations

from typing import Final

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from bench.cells_result import Cell, CellsResult
from bench.cells_table import figure, ratio, remarks
from bench.pages import canvas as c
from bench.pages.markup import Markup, table
from bench.pages.section import Section, note, paragraph
from bench.spread import Spread

TITLE: Final = "The relay under every shape of load"
NOTE: Final = (
    "Every cell was measured once in each round, on a relay of its own with an empty store. A ratio"
    " compares acks per second with the plain cell of the same round. Every run was recorded and"
    " judged."
)


def cells_section(result: CellsResult) -> Section:
    """Figures of every cell, and the picture."""
    with c.look():
        picture = draw_cells(result)
    content = note(NOTE), _figures(result), *map(paragraph, remarks(result))
    return Section(TITLE, result.is_good, content, (picture,))


def _figures(result: CellsResult) -> Markup:
    header = ("cell", "load", "acked/s", "ack p50 ms", "ack p99 ms", f"ratio to {result.plain}")
    return table(
        f"Medians of {result.rounds} rounds, with the lowest and the highest",
        header,
        (
            (
                cell.name,
                cell.load,
                _with_spread(cell.acked_per_s, 0),
                _with_spread(cell.ack_p50_ms, 2),
                _with_spread(cell.ack_p99_ms, 2),
                ratio(cell, " · "),
            )
            for cell in result.cells
        ),
    )


def _with_spread(spread: Spread, digits: int) -> str:
    return " · ".join(figure(spread, digits))


# ── the picture ──────────────────────────────────────────────────────────────────────────────


def draw_cells(result: CellsResult) -> c.Picture:
    """Throughput and latency of every cell, side by side."""
    title = f"Acks per second and their latency, {result.rounds} rounds"
    made = c.figure(
        1.5 + 0.34 * len(result.cells),
        title,
        "Dots are medians, lines reach from the lowest round to the highest.",
    )
    rates, latencies = made.subplots(1, 2, sharey=True)
    rows = range(len(result.cells), 0, -1)
    for row, cell in zip(rows, result.cells, strict=True):
        _dot(rates, cell.acked_per_s, row, c.BLUE, "o")
        _dot(latencies, cell.ack_p50_ms, row, c.GREEN, "o")
        _dot(latencies, cell.ack_p99_ms, row, c.VERMILION, "s")
    rates.set_yticks(list(rows), [_label(cell) for cell in result.cells])
    for axes, label in (
        (rates, "acked messages per second (log)"),
        (latencies, "ms until the ack (log): median ●, 99th percentile ■"),
    ):
        axes.set_xscale("log")
        axes.set_xlabel(label)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    alt = "On the left acked messages per second of each cell, on the right the latency of acks."
    return c.rendered(made, "cells", title, alt)


def _label(cell: Cell) -> str:
    return cell.name if cell.ratio is None else f"{cell.name}  {cell.ratio.median:.2f} ×"


def _dot(axes: Axes, figure: Spread, row: int, color: str, marker: str) -> None:
    """What is not above zero has no place on a logarithmic axis."""
    if figure.lowest > 0:
        axes.plot([figure.lowest, figure.highest], [row, row], color=color)
        axes.plot([figure.median], [row], marker, color=color, markersize=5)
