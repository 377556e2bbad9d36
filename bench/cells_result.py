"""What several rounds over many cells have shown: each cell's figures, and beside the plain load.

A ratio is a cell's acks per second over those of the plain cell in the same round. Where a
generator was the limit in any of the rounds, of the cell or of the plain one, there is none: it
would compare generators.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeVar

from msgspec import Struct

from bench.lmdb_alone import LmdbReport
from bench.ordering import OrderingReport
from bench.spread import Spread, spread

Reason = Literal["GENERATOR_BOUND", "NOTHING_ACKED", "NOTHING_BESIDE"]
"""The last: in no round there are runs of both."""

T = TypeVar("T")
U = TypeVar("U")


class Cell(Struct, frozen=True):
    """One cell in all rounds. `runs` are in the order of the rounds."""

    name: str
    load: str
    acked_per_s: Spread
    ack_p50_ms: Spread
    ack_p99_ms: Spread
    ratio: Spread | None
    no_ratio: Reason | None
    """Why there is none; null where there is one, and of the plain cell."""
    runs: tuple[OrderingReport, ...]

    @property
    def is_good(self) -> bool:
        """Whether every run was judged, and kept its promises."""
        return all(run.is_good for run in self.runs)


class LmdbBeside(Struct, frozen=True):
    """LMDB alone after each run of the plain cell, with as many messages in a transaction.

    The ratio is the plain cell's acks per second over the messages that LMDB alone commits in one.
    """

    messages_per_s: Spread
    ratio: Spread | None
    no_ratio: Reason | None
    runs: tuple[LmdbReport, ...]


class Failure(Struct, frozen=True):
    """A run that could not be made. It is not among its cell's, and has no ratio."""

    round: int
    cell: str
    why: str


class CellsResult(Struct, frozen=True):
    """Everything; as JSON this is what `--json` prints."""

    rounds: int
    plain: str
    """The cell that ratios are to."""
    cells: tuple[Cell, ...]
    lmdb_alone: LmdbBeside | None
    """Null where no run of it could be made."""
    failures: tuple[Failure, ...]

    @property
    def is_good(self) -> bool:
        """Whether every run of every cell was made, and is."""
        return not self.failures and all(cell.is_good for cell in self.cells)


def cell_of(
    name: str,
    rounds: Sequence[OrderingReport | None],
    plain: Sequence[OrderingReport | None] | None,
) -> Cell:
    """One cell, of which at least one run was made; None stands for one that was not.

    `plain` are the runs of the same rounds that it is compared with, if with any.
    """
    made = _made(rounds)
    both = [] if plain is None else _in_both(rounds, plain)
    reason = None if plain is None else _why_no_ratio([*made, *_made(plain)], both)
    ratio = None
    if plain is not None and reason is None:
        ratio = spread([ours.acked_per_s / theirs.acked_per_s for ours, theirs in both])
    return Cell(
        name=name,
        load=load_of(made[0]),
        acked_per_s=spread([run.acked_per_s for run in made]),
        ack_p50_ms=spread([run.ack_ms.p50 for run in made]),
        ack_p99_ms=spread([run.ack_ms.p99 for run in made]),
        ratio=ratio,
        no_ratio=reason,
        runs=tuple(made),
    )


def lmdb_beside(
    rounds: Sequence[LmdbReport | None], plain: Sequence[OrderingReport | None]
) -> LmdbBeside | None:
    """LMDB alone in all rounds, and the plain cell beside it."""
    made = _made(rounds)
    if not made:
        return None
    is_bound = any(run.generator_bound for run in _made(plain))
    ratios = [ours.acked_per_s / alone.messages_per_s for ours, alone in _in_both(plain, rounds)]
    return LmdbBeside(
        messages_per_s=spread([run.messages_per_s for run in made]),
        ratio=None if is_bound else spread(ratios),
        no_ratio="GENERATOR_BOUND" if is_bound else None,
        runs=tuple(made),
    )


def load_of(run: OrderingReport) -> str:
    """A load in words."""
    what = {
        "pairs": f"{run.pairs:,} pairs × {run.in_flight}",
        "hot": f"one conversation, 2 × {run.pairs} devices × {run.in_flight}",
        "hub": f"one user in {run.pairs:,} conversations × {run.in_flight}",
        "zipf": f"Zipf over {run.conversations or 0:,} conversations, {2 * run.pairs:,} users",
    }[run.shape]
    codec = ", JSON" if run.codec == "json" else ""
    late = f", syncs {run.sync_delay_ms:g} ms late" if run.sync_delay_ms else ""
    return f"{what}, {run.size:,} B{codec}{late}"


def _made(rounds: Sequence[T | None]) -> list[T]:
    return [run for run in rounds if run is not None]


def _in_both(ours: Sequence[T | None], theirs: Sequence[U | None]) -> list[tuple[T, U]]:
    """Of the rounds in which both were made."""
    rounds = zip(ours, theirs, strict=True)
    return [(one, other) for one, other in rounds if one is not None and other is not None]


def _why_no_ratio(
    runs: Sequence[OrderingReport], both: Sequence[tuple[OrderingReport, OrderingReport]]
) -> Reason | None:
    if any(run.generator_bound for run in runs):
        return "GENERATOR_BOUND"
    if not both:
        return "NOTHING_BESIDE"
    return None if all(plain.acked_per_s for _, plain in both) else "NOTHING_ACKED"
