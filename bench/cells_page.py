"""One HTML page that shows the cells: no script, nothing to load, nothing unescaped."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from bench.cells_result import Cell, CellsResult
from bench.cells_table import figure, ratio, remarks
from bench.isolation.markup import Markup, drawing, element, table
from bench.isolation.plots import canvas as c
from bench.isolation.report import POLICY, STYLE
from bench.runs import Spread

TITLE: Final = "The relay under every shape of load"
NOTE: Final = (
    "Every cell was measured once in each round, on a relay of its own with an empty store. A ratio"
    " compares acks per second with the plain cell of the same round. Every run was recorded and"
    " judged."
)


def page_html(result: CellsResult) -> str:
    """The page, the same for the same result."""
    with c.look():
        picture = draw_cells(result)
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("title", TITLE),
        element("style", Markup(STYLE)),
    )
    main = element(
        "main",
        element("h1", f"{TITLE}.", class_="good" if result.is_good else "bad"),
        element("p", NOTE, class_="note"),
        _figures(result),
        *(element("p", line) for line in remarks(result)),
        element(
            "figure",
            drawing(picture.svg, picture.name, picture.title, picture.alt),
            element("figcaption", f"{picture.title}. {picture.alt}"),
            tabindex="0",
        ),
        *_origin(result),
    )
    page = element("html", head, element("body", main), lang="en")
    return f"<!doctype html>\n{page.html}\n"


def _figures(result: CellsResult) -> Markup:
    header = ("cell", "load", "acked/s", "ack p50 ms", "ack p99 ms", f"ratio to {result.plain}")
    made = table(
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
    return element("div", made)


def _with_spread(spread: Spread, digits: int) -> str:
    return " · ".join(figure(spread, digits))


def _origin(result: CellsResult) -> Iterator[Markup]:
    yield element("h2", "Where this comes from")
    versions, machine = result.versions, msgspec.structs.asdict(result.machine)
    rows = [
        ("written at", result.written_at),
        ("relay", versions.relay),
        ("Python", versions.python),
        ("LMDB, the library", versions.lmdb_library),
        *sorted(versions.packages.items()),
    ]
    yield element("div", table("Versions", ("", ""), rows), class_="texts")
    facts = ((name.replace("_", " "), str(fact)) for name, fact in machine.items())
    yield element("div", table("Machine", ("", ""), facts), class_="texts")


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
