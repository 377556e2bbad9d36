"""The comparison with other servers as a part of a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from msgspec import Struct

from bench.pages import wording as words
from bench.pages.markup import Markup, element, table
from bench.pages.section import Section, note, paragraph
from bench.run import GENERATOR_BOUND
from bench.runs import spread

TITLE: Final = "Beside other servers"
NOTE: Final = (
    "In every round the relay and each of the others are measured one after the other, each started"
    " anew on an empty store. A ratio is the relay's figure over that of the other in the same"
    " round: median, lowest and highest. Of rates more is better, of latencies less. There is none"
    f" where a load generator took more than {GENERATOR_BOUND:.0%} of a core."
)


class Round(Struct, frozen=True):
    """One server in one round, as much of it as is shown."""

    acked_per_s: float
    ack_p50_ms: float
    lost: int


class Column(Struct, frozen=True):
    """One peer."""

    peer: str
    rounds: tuple[Round, ...]
    acked_per_s: float
    ack_p50_ms: float
    generator_bound: bool


class Comparison(Struct, frozen=True):
    """One shape."""

    pairs: int
    in_flight: int
    size: int
    seconds: float
    relay: tuple[Round, ...]
    relay_acked_per_s: float
    relay_ack_p50_ms: float
    columns: tuple[Column, ...]
    sync_delay_ms: float = 0.0


class Promise(Struct, frozen=True):
    """What an ack is worth."""

    peer: str
    is_synced: bool
    ack_promises: str
    does_not: str = ""


class PeersShown(Struct, frozen=True):
    """As much of the report of `bench.peers` as a page shows."""

    relay_ack_promises: str
    peers: tuple[Promise, ...]
    comparisons: tuple[Comparison, ...]


def peers_section(report: PeersShown) -> Section:
    """A table for each shape, and what the acks are worth."""
    lost = sum(round_.lost for one in report.comparisons for round_ in one.relay)
    return Section(TITLE, not lost, tuple(_content(report, lost)))


def _content(report: PeersShown, lost: int) -> Iterator[Markup]:
    yield note(NOTE)
    for one in report.comparisons:
        late = f", syncs {one.sync_delay_ms:g} ms late" if one.sync_delay_ms else ""
        yield table(
            f"{one.pairs:,} pairs × {one.in_flight:,} in flight, {one.size:,} B{late};"
            f" {len(one.relay)} rounds of {one.seconds:g} s",
            ("", "acked per s", "ratio", "ack, median", "ratio"),
            _rows(one),
        )
    if lost:
        yield paragraph(f"Messages of the relay's that had not come home in the end: {lost:,}.")
    worth = (
        ("this relay", report.relay_ack_promises, ""),
        *((one.peer, _promise(one), one.does_not) for one in report.peers),
    )
    header = ("", "what it promises", "what it does not do")
    yield element("div", table("What an ack is worth", header, worth), class_="texts")


def _promise(one: Promise) -> str:
    return one.ack_promises if one.is_synced else f"NOT synced: {one.ack_promises}"


def _rows(one: Comparison) -> Iterator[Sequence[str]]:
    relay = one.relay
    ack = words.latency(one.relay_ack_p50_ms)
    yield "this relay", f"{one.relay_acked_per_s:,.0f}", "1", ack, "1"
    for column in one.columns:
        rounds = list(zip(relay, column.rounds, strict=False))
        rates = [(ours.acked_per_s, theirs.acked_per_s) for ours, theirs in rounds]
        latencies = [(ours.ack_p50_ms, theirs.ack_p50_ms) for ours, theirs in rounds]
        yield (
            column.peer,
            f"{column.acked_per_s:,.0f}",
            _ratio(rates, is_bound=column.generator_bound),
            words.latency(column.ack_p50_ms),
            _ratio(latencies, is_bound=column.generator_bound),
        )


def _ratio(rounds: Sequence[tuple[float, float]], *, is_bound: bool) -> str:
    if is_bound or not rounds or not all(theirs for _, theirs in rounds):
        return words.UNKNOWN
    found = spread([ours / theirs for ours, theirs in rounds])
    return f"{found.median:.2f} × · {found.lowest:.2f} … {found.highest:.2f}"
