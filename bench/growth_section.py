"""Growth as a part of a page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from bench.growth import Cell, GrowthReport
from bench.growth_plots import draw
from bench.pages import wording as words
from bench.pages.markup import Markup, table
from bench.pages.section import Section, note, paragraph, verdict
from bench.run import GENERATOR_BOUND

TITLE: Final = "Cost of a message and of a start, as the store grows"
NOTE: Final = (
    "Each store is filled before its relay starts. A start counts from the process's beginning"
    " until the relay is ready. Then each send goes to a conversation drawn from all there are, so"
    " with many of them hardly one is in memory. Ratios are to the smallest store."
)


def growth_section(report: GrowthReport) -> Section:
    """Figures of every size, and the pictures."""
    return Section(TITLE, report.is_good, tuple(_content(report)), draw(report))


def _content(report: GrowthReport) -> Iterator[Markup]:
    yield note(NOTE)
    pairs = max(cell.pairs for cell in report.cells)
    yield paragraph(
        f"{pairs:,} pairs with {report.in_flight:,} in flight on each side, {report.size:,} bytes,"
        f" {report.seconds:g} seconds at each size."
    )
    yield table("Cost of a message", ("", *_COST), map(_cost, report.cells))
    yield table("Start and memory", ("", *_START), map(_start, report.cells))
    if any(cell.generator_bound for cell in report.cells):
        yield paragraph(
            f"* The load generator took more than {GENERATOR_BOUND:.0%} of a core: these figures"
            " may be its own, and there is no ratio."
        )
    undelivered = sum(cell.undelivered for cell in report.cells)
    if undelivered:
        yield paragraph(f"Messages that did not reach the other side: {undelivered:,}.")
    yield verdict([cell.checker for cell in report.cells])


_COST: Final = ("acked per s", "ack p99", "wall time", "ratio", "relay's processor time", "ratio")
_START: Final = ("start", "memory after the start", "after the load", "of that its own")


def _size(cell: Cell) -> str:
    mark = " *" if cell.generator_bound else ""
    return f"{cell.conversations:,} conversations, {cell.records:,} records{mark}"


def _cost(cell: Cell) -> tuple[str, ...]:
    cpu = cell.cpu_us_per_message
    return (
        _size(cell),
        f"{cell.acked_per_s:,.0f}",
        words.latency(cell.ack_ms.p99),
        f"{cell.wall_us_per_message:,.1f} µs",
        words.ratio(cell.wall_ratio),
        words.UNKNOWN if cpu is None else f"{cpu:,.1f} µs",
        words.ratio(cell.cpu_ratio),
    )


def _start(cell: Cell) -> tuple[str, ...]:
    memory = cell.rss_started_kib, cell.rss_loaded_kib, cell.own_loaded_kib
    return (
        _size(cell),
        f"{cell.start_seconds:.2f} s",
        *(f"{kib / 1_024:,.1f} MiB" for kib in memory),
    )
