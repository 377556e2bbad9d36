"""How fast this relay has to be beside its peers, and whether it was."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Literal

from msgspec import Struct

from bench.peers.comparing import Column, Comparison
from bench.spread import Spread

Verdict = Literal["goal", "floor", "missed", "no ratio", "not measured"]
"""What was reached; `no ratio` where a generator was the limit, or nothing was acked."""


class Floor(Struct, frozen=True):
    """A ratio of medians that must be reached, and the one that is aimed at.

    `rate` is of acked messages per second, and has to be at least that; `latency` is of the median
    time to an ack, and has to be at most that.
    """

    shape: str
    peer: str
    of: Literal["rate", "latency"]
    floor: float
    goal: float


class Judged(Struct, frozen=True):
    """A floor, and what was measured."""

    floor: Floor
    ratio: Spread | None
    verdict: Verdict


FLOORS: Final = (
    Floor("16x16", "nats", "rate", 1.5, 3.0),
    Floor("1000x1", "nats", "rate", 0.7, 1.3),
    Floor("16x1", "nats", "rate", 0.7, 1.3),
    Floor("1x1", "nats", "latency", 2.5, 1.2),
    # The faster of the two, though its acks promise less than ours.
    Floor("16x16", "prosody-unsynced", "rate", 3.0, 20.0),
    Floor("1000x1", "prosody-unsynced", "rate", 3.0, 20.0),
    Floor("16x1", "prosody-unsynced", "rate", 3.0, 20.0),
    Floor("16x16+5ms", "nats", "rate", 1.5, 3.0),
)


def judge(comparisons: Sequence[Comparison], floors: Iterable[Floor] = FLOORS) -> list[Judged]:
    """Every floor, by the median of the ratios of the rounds."""
    return [_judged(floor, _found(floor, comparisons)) for floor in floors]


def _found(floor: Floor, comparisons: Sequence[Comparison]) -> Column | None:
    for comparison in comparisons:
        if comparison.shape == floor.shape:
            for column in comparison.columns:
                if column.peer == floor.peer:
                    return column
    return None


def _judged(floor: Floor, column: Column | None) -> Judged:
    if column is None:
        return Judged(floor, None, "not measured")
    ratio = column.rate_ratio if floor.of == "rate" else column.latency_ratio
    if ratio is None:
        return Judged(floor, None, "no ratio")
    return Judged(floor, ratio, _verdict(floor, ratio.median))


def _verdict(floor: Floor, ratio: float) -> Verdict:
    is_rate = floor.of == "rate"
    if ratio >= floor.goal if is_rate else ratio <= floor.goal:
        return "goal"
    return "floor" if (ratio >= floor.floor if is_rate else ratio <= floor.floor) else "missed"
