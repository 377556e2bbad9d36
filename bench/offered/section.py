"""A sweep as a part of a page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from bench.offered.plots import draw
from bench.offered.sweep import LatencyReport, Load
from bench.offered.syncs import in_words
from bench.pages import wording as words
from bench.pages.markup import Markup, table
from bench.pages.section import Section, note, paragraph, verdict
from bench.run import GENERATOR_BOUND
from bench.spread import Spread

TITLE: Final = "Latency over offered load"
NOTE: Final = (
    "An open loop: a seed decides beforehand who sends when, and a send that is due goes out,"
    " whether or not the ones before it are answered. A latency counts from when the send was"
    " meant, so what waits for a relay that has stalled is counted with all of its wait. Told are"
    " medians of the runs, with the lowest and the highest."
)


def latency_section(report: LatencyReport) -> Section:
    """Figures of every load, and the pictures.

    Raises:
        ValueError: a histogram in the report cannot be read.
    """
    return Section(TITLE, report.is_good, tuple(_content(report)), draw(report))


def _content(report: LatencyReport) -> Iterator[Markup]:
    runs = [run for load in report.loads for run in load.runs]
    yield note(NOTE)
    yield paragraph(
        f"{report.pairs:,} pairs, both sides of which send {report.size:,} bytes;"
        f" {report.seconds:g} seconds at each load, seed {report.seed}."
        + (
            ""
            if report.saturation_per_s is None
            else f" A closed loop reached {report.saturation_per_s:,.0f} acks per second."
        )
    )
    yield _table("Throughput", report, _THROUGHPUT)
    yield _table("Time until the ack", report, _ACKS)
    yield _table("Time until the delivery", report, _DELIVERIES)
    if any(load.syncs is not None for load in report.loads):
        yield _table("The relay's syncs", report, _SYNCS)
    if any(load.generator_bound for load in report.loads):
        yield paragraph(
            f"* The load generator took more than {GENERATOR_BOUND:.0%} of a core in a run: these"
            " figures may be its own."
        )
    unacked = sum(run.figures.unacked for run in runs)
    undelivered = sum(run.figures.undelivered for run in runs)
    unread = sum(run.unread for run in runs)
    if unacked or undelivered or unread:
        yield paragraph(
            f"Never acked: {unacked:,}. Never delivered: {undelivered:,}. Inboxes that could not be"
            f" read at the end: {unread:,}."
        )
    yield verdict([run.checker for run in runs])


Cell = Callable[[Load], str]

_THROUGHPUT: Final[dict[str, Cell]] = {
    "acked per s": lambda load: _rate(load.acked_per_s),
    "delivered per s": lambda load: _rate(load.delivered_per_s),
    "load generator": lambda load: _core([run.generator_cpu for run in load.runs]),
    "relay": lambda load: _core([run.relay_cpu for run in load.runs]),
}
_ACKS: Final[dict[str, Cell]] = {
    "median": lambda load: _latency(load.ack_p50_ms),
    "p99": lambda load: _latency(load.ack_p99_ms),
    "p99.9": lambda load: _latency(load.ack_p999_ms),
    "worst": lambda load: _latency(load.ack_worst_ms),
}
_DELIVERIES: Final[dict[str, Cell]] = {
    "median": lambda load: _latency(load.delivery_p50_ms),
    "p99": lambda load: _latency(load.delivery_p99_ms),
    "p99.9": lambda load: _latency(load.delivery_p999_ms),
    "worst": lambda load: _latency(load.delivery_worst_ms),
}

_SYNCS: Final[dict[str, Cell]] = {
    "syncs": lambda load: words.UNKNOWN if load.syncs is None else f"{load.syncs.count:,}",
    "median": lambda load: in_words(load.syncs)[0],
    "p99": lambda load: in_words(load.syncs)[1],
    "worst": lambda load: in_words(load.syncs)[2],
}
"""Of all runs of a load together; the relay counts them in buckets, whose bounds these are."""


def _table(caption: str, report: LatencyReport, cells: dict[str, Cell]) -> Markup:
    rows = ((_offered(load, report), *(of(load) for of in cells.values())) for load in report.loads)
    return table(caption, ("sends per s", *cells), rows)


def _offered(load: Load, report: LatencyReport) -> str:
    part = report.saturation_per_s
    said = f"{load.rate_per_s:,.0f}" + (f" ({load.rate_per_s / part:.0%})" if part else "")
    return f"{said} *" if load.generator_bound else said


def _rate(spread: Spread) -> str:
    return f"{spread.median:,.0f} · {spread.lowest:,.0f} … {spread.highest:,.0f}"


def _latency(spread: Spread) -> str:
    median, lowest, highest = map(words.latency, (spread.median, spread.lowest, spread.highest))
    return f"{median} · {lowest} … {highest}"


def _core(shares: Sequence[float | None]) -> str:
    """The most of any run."""
    known = [share for share in shares if share is not None]
    return f"{words.share(max(known))} of a core" if known else words.UNKNOWN
