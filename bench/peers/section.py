"""The comparison with other servers as a part of a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median
from typing import Final

import msgspec

from bench.pages import wording as words
from bench.pages.markup import Markup, element, table
from bench.pages.section import Section, note, paragraph
from bench.peers.comparing import Column, Comparison
from bench.peers.floors import Judged
from bench.peers.result import PeersReport, Promise
from bench.run import GENERATOR_BOUND
from bench.spread import Spread

TITLE: Final = "Beside other servers"
NOTE: Final = (
    "In every round the relay and each of the others are measured one after the other, each started"
    " anew on an empty store. A ratio is the relay's figure over that of the other in the same"
    " round: median, lowest and highest. Of rates more is better, of latencies less. There is none"
    f" where a load generator took more than {GENERATOR_BOUND:.0%} of a core."
)

SYNCED: Final = "synced"
NOT_SYNCED: Final = "NOT synced"


def peers_section(report: PeersReport) -> Section:
    """A table for each shape, what is asked, and what the acks are worth."""
    return Section(TITLE, report.is_good, tuple(_content(report)))


def _content(report: PeersReport) -> Iterator[Markup]:
    yield note(NOTE)
    for one in report.comparisons:
        yield _comparison(one, report.nats_streams)
    if report.failure:
        yield paragraph(f"There is no more, because this could not be measured: {report.failure}.")
    asked = ("", "floor", "goal", "measured", "verdict")
    yield table("What is asked of the relay", asked, map(_floor, report.floors))
    if lost := sum(one.lost for one in report.comparisons):
        yield paragraph(f"Messages of the relay's that had not come home in the end: {lost:,}.")
    yield _worth(report)


# ── what was measured ────────────────────────────────────────────────────────────────────────


def _comparison(one: Comparison, nats_streams: int) -> Markup:
    late = f", syncs {one.sync_delay_ms:g} ms late" if one.sync_delay_ms else ""
    streams = min(nats_streams, one.pairs)
    over = f"; {streams} streams" if any(c.peer.startswith("nats") for c in one.columns) else ""
    return table(
        f"{one.pairs:,} pairs × {one.in_flight:,} in flight, {one.size:,} B{late};"
        f" {len(one.relay)} rounds of {one.seconds:g} s{over}",
        ("", "acked per s", "ratio", "ack, median", "ratio", "its own benchmark"),
        _rows(one),
    )


def _rows(one: Comparison) -> Iterator[Sequence[str]]:
    ack = words.latency(one.relay_ack_p50_ms)
    yield "this relay", f"{one.relay_acked_per_s:,.0f}", "1", ack, "1", ""
    for column in one.columns:
        yield (
            column.peer,
            f"{column.acked_per_s:,.0f}",
            _ratio(column.rate_ratio),
            words.latency(column.ack_p50_ms),
            _ratio(column.latency_ratio),
            _own_benchmark(column),
        )


def _own_benchmark(column: Column) -> str:
    known = column.own_benchmark_per_s
    return f"{median(known):,.0f} per s" if known else ""


def _floor(one: Judged) -> Sequence[str]:
    asked = one.floor
    least = "at least" if asked.of == "rate" else "at most"
    return (
        f"{asked.shape}, {asked.of}, beside {asked.peer}",
        f"{least} {asked.floor:g} ×",
        f"{least} {asked.goal:g} ×",
        _ratio(one.ratio),
        one.verdict,
    )


def _ratio(found: Spread | None) -> str:
    if found is None:
        return words.UNKNOWN
    return f"{found.median:.2f} × · {found.lowest:.2f} … {found.highest:.2f}"


# ── what it is worth ─────────────────────────────────────────────────────────────────────────


def _worth(report: PeersReport) -> Markup:
    header = ("", "its ack", "on disk by then", "what it promises", "beside that")
    ours = ("this relay", "the answer to a send", SYNCED, report.relay_ack_promises, "")
    rows = (ours, *map(_promise, report.peers))
    return element("div", table("What an ack is worth", header, rows), class_="texts")


def _promise(one: Promise) -> Sequence[str]:
    beyond = msgspec.structs.asdict(one.beyond).items()
    beside = "; ".join(f"{name}: {what}" for name, what in beyond)
    return (
        f"{one.peer} ({one.version})",
        one.ack_is,
        SYNCED if one.is_synced else NOT_SYNCED,
        one.ack_promises,
        f"{beside}. Its own benchmark: {one.own_benchmark_is}",
    )
