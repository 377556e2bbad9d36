"""A comparison for people who read a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median
from typing import Final

import msgspec
from rich.console import Console
from rich.table import Table

from bench.peers.choice import PEERS, RELAY_PROMISES, Peer
from bench.peers.comparing import Column, Comparison
from bench.peers.floors import Judged
from bench.run import GENERATOR_BOUND
from bench.spread import Spread

WIDTH: Final = 120
"""Of the widest row, also where nobody says how wide the screen is."""


def print_comparisons(
    comparisons: Sequence[Comparison], peers: Sequence[Peer], floors: Sequence[Judged]
) -> None:
    """The figures, what has to be reached, and what each ack is worth."""
    console = Console(highlight=False, markup=False)
    console.width = max(console.width, WIDTH)
    console.print(_figures(comparisons))
    measured = [one for one in floors if one.verdict != "not measured"]
    if measured:
        console.print(_floors(measured))
    for line in _remarks(comparisons, peers):
        console.print(line, soft_wrap=True)


def _figures(comparisons: Sequence[Comparison]) -> Table:
    table = Table(
        "shape",
        "server",
        "acked/s",
        "ratio",
        "ack p50, ms",
        "ratio",
        "its own",
        title=f"Medians of {len(comparisons[0].relay)} rounds in turns",
        caption="Shape: pairs x sends in flight on each side. Ratio: the relay's figure ÷ its, of"
        " rounds. Its own: acked/s by the benchmark that it comes with.",
    )
    for one in comparisons:
        table.add_section()
        rate, latency = f"{one.relay_acked_per_s:,.0f}", f"{one.relay_ack_p50_ms:,.2f}"
        table.add_row(one.shape, "this relay", rate, "", latency, "", "")
        for column in one.columns:
            table.add_row("", *_cells(column))
    return table


def _cells(column: Column) -> Iterator[str]:
    yield PEERS[column.peer].title
    yield f"{column.acked_per_s:,.0f}"
    yield _ratio(column.rate_ratio)
    yield f"{column.ack_p50_ms:,.2f}"
    yield _ratio(column.latency_ratio)
    own = column.own_benchmark_per_s
    yield f"{median(own):,.0f}" if own else "none"


def _floors(floors: Sequence[Judged]) -> Table:
    table = Table("shape", "beside", "of", "floor", "goal", "measured", "", title="What is asked")
    for one in floors:
        asked = one.floor
        sign = "≥" if asked.of == "rate" else "≤"
        table.add_row(
            asked.shape,
            PEERS[asked.peer].title,
            "acked/s" if asked.of == "rate" else "ack p50",
            f"{sign} {asked.floor:g}",
            f"{sign} {asked.goal:g}",
            _ratio(one.ratio),
            one.verdict,
        )
    return table


def _ratio(ratio: Spread | None) -> str:
    if ratio is None:
        return "–"
    return f"{ratio.median:.2f} ({ratio.lowest:.2f} … {ratio.highest:.2f})"


def _remarks(comparisons: Sequence[Comparison], peers: Sequence[Peer]) -> Iterator[str]:
    yield f"An ack of this relay: {RELAY_PROMISES}."
    for peer in peers:
        yield f"{peer.title}: its ack is {peer.ack_is}. By then {peer.ack_promises}."
        beyond = msgspec.structs.asdict(peer.beyond)
        yield f"    {'; '.join(f'{name}: {what}' for name, what in beyond.items())}."
        yield f"    Its own benchmark: {peer.own_benchmark_is}."
    if any(column.generator_bound for one in comparisons for column in one.columns):
        yield (
            f"Where there is no ratio, a load generator took more than {GENERATOR_BOUND:.0%} of a"
            " core, and would have been compared instead."
        )
