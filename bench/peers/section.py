"""The comparison with other servers as a part of a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, Literal

from msgspec import Struct

from bench.pages import wording as words
from bench.pages.markup import Markup, element, table
from bench.pages.section import Section, note, paragraph
from bench.run import GENERATOR_BOUND
from bench.spread import Spread, spread

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
    own_benchmark_per_s: tuple[float, ...] = ()
    """What the peer's own benchmark said, once a round."""


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


class Beyond(Struct, frozen=True):
    """What there is of what this relay's ack stands for as well."""

    inbox: str
    idempotency: str
    order: str
    replay: str


class Promise(Struct, frozen=True):
    """What an ack is worth."""

    peer: str
    is_synced: bool
    ack_promises: str
    does_not: str = ""
    beyond: Beyond | None = None


class Floor(Struct, frozen=True):
    """How the relay has to be beside a peer, and what is aimed at."""

    shape: str
    peer: str
    of: Literal["rate", "latency"]
    floor: float
    goal: float


class Judged(Struct, frozen=True):
    """Whether it was."""

    floor: Floor
    ratio: Spread | None
    verdict: str


class PeersShown(Struct, frozen=True):
    """As much of the report of `bench.peers` as a page shows."""

    relay_ack_promises: str
    peers: tuple[Promise, ...]
    comparisons: tuple[Comparison, ...]
    floors: tuple[Judged, ...] = ()
    failure: str | None = None
    """Why there is no more, where there is not."""


def peers_section(report: PeersShown) -> Section:
    """A table for each shape, and what the acks are worth."""
    lost = sum(round_.lost for one in report.comparisons for round_ in one.relay)
    is_slow = any(one.verdict == "missed" for one in report.floors)
    is_good = not (lost or is_slow or report.failure)
    return Section(TITLE, is_good, tuple(_content(report, lost)))


def _content(report: PeersShown, lost: int) -> Iterator[Markup]:
    yield note(NOTE)
    for one in report.comparisons:
        late = f", syncs {one.sync_delay_ms:g} ms late" if one.sync_delay_ms else ""
        yield table(
            f"{one.pairs:,} pairs × {one.in_flight:,} in flight, {one.size:,} B{late};"
            f" {len(one.relay)} rounds of {one.seconds:g} s",
            ("", "acked per s", "ratio", "ack, median", "ratio", "its own benchmark"),
            _rows(one),
        )
    if report.failure:
        yield paragraph(f"There is no more, because {report.failure}.")
    if report.floors:
        asked = ("", "floor", "goal", "measured", "verdict")
        yield table("What is asked of the relay", asked, map(_floor, report.floors))
    if lost:
        yield paragraph(f"Messages of the relay's that had not come home in the end: {lost:,}.")
    worth = (
        ("this relay", report.relay_ack_promises, ""),
        *((one.peer, _promise(one), _beside_that(one)) for one in report.peers),
    )
    header = ("", "what it promises", "what there is beside that, and what not")
    yield element("div", table("What an ack is worth", header, worth), class_="texts")


def _promise(one: Promise) -> str:
    return one.ack_promises if one.is_synced else f"NOT synced: {one.ack_promises}"


def _beside_that(one: Promise) -> str:
    if one.beyond is None:
        return one.does_not
    beyond = one.beyond
    return (
        f"inbox: {beyond.inbox}; idempotency: {beyond.idempotency}; order: {beyond.order};"
        f" replay: {beyond.replay}"
    )


def _floor(one: Judged) -> Sequence[str]:
    asked, found = one.floor, one.ratio
    least = "at least" if asked.of == "rate" else "at most"
    return (
        f"{asked.shape}, {asked.of}, beside {asked.peer}",
        f"{least} {asked.floor:g} ×",
        f"{least} {asked.goal:g} ×",
        words.UNKNOWN if found is None else _times(found),
        one.verdict,
    )


def _rows(one: Comparison) -> Iterator[Sequence[str]]:
    relay = one.relay
    ack = words.latency(one.relay_ack_p50_ms)
    yield "this relay", f"{one.relay_acked_per_s:,.0f}", "1", ack, "1", ""
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
            _own_benchmark(column),
        )


def _ratio(rounds: Sequence[tuple[float, float]], *, is_bound: bool) -> str:
    if is_bound or not rounds or not all(theirs for _, theirs in rounds):
        return words.UNKNOWN
    return _times(spread([ours / theirs for ours, theirs in rounds]))


def _times(found: Spread) -> str:
    return f"{found.median:.2f} × · {found.lowest:.2f} … {found.highest:.2f}"


def _own_benchmark(column: Column) -> str:
    known = column.own_benchmark_per_s
    return f"{spread(known).median:,.0f} per s" if known else ""
