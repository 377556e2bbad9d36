"""The cells of the ordering benchmark, in turns on one machine: `python -m bench.cells`.

Each round measures every cell once, each on a relay started anew on an empty store, and compares
it with the plain load of that same round, so that what else the machine does meets both. Every
run is recorded and ends with the checker. After each plain one LMDB alone commits the same rows.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import gettempdir
from typing import Annotated, Final, Literal, NamedTuple, TypeVar, get_args

import msgspec
from cyclopts import App, Parameter, validators
from rich.console import Console

from bench.cells_result import Cell, CellsResult, Failure, cell_of, lmdb_beside
from bench.cells_table import print_cells
from bench.ending import unwound_when_told_to_end
from bench.leaving import leaving
from bench.lmdb_alone import LmdbReport
from bench.ordering import OrderingReport, measure_own_relay
from bench.pages.result import command_line
from bench.relay_of_its_own import StartError
from bench.run import PACKAGES, RunError
from bench.shape import Shape
from bench.telling import tell
from relay.exits import CommandError

CellName = Literal[
    "16x16", "1000x1", "16x1", "1x1", "hot", "hot-8", "hub", "zipf", "4KiB", "64KiB", "json", "sync"
]
PLAIN: Final[CellName] = "16x16"
"""The cell that the others are compared with."""

LMDB_ALONE: Final = "LMDB alone"
"""What follows the plain cell in each round, where it fails."""

SYNC_DELAY_MS: Final = 5.0
CONVERSATIONS: Final = 100_000

R = TypeVar("R")
_POSITIVE: Final = validators.Number(gte=1)

app = App(name="bench.cells", help="Measure the relay under every shape of load, in turns.")


class Wanted(NamedTuple):
    """How each cell is measured."""

    rounds: int
    seconds: float
    warm_up_seconds: float
    size: int
    seed: int


@app.default
def cells(
    *,
    rounds: Annotated[int, Parameter(validator=_POSITIVE)] = 5,
    seconds: Annotated[float, Parameter(validator=validators.Number(gt=0, lte=600))] = 5.0,
    warm_up: Annotated[float, Parameter(validator=validators.Number(gte=0, lte=60))] = 2.0,
    size: Annotated[int, Parameter(validator=_POSITIVE)] = 300,
    seed: Annotated[int, Parameter(validator=validators.Number(gte=0, lt=2**53))] = 1,
    cell: tuple[CellName, ...] = (),
    out: Path | None = None,
    json: bool = False,
) -> int:
    """Measure every cell in turns; exits with 1 when a promise was broken, or a run failed.

    What failed is told, with its cell and round; the figures of the others are kept.

    Parameters
    ----------
    rounds
        How often each is measured.
    seconds
        How long each measurement takes.
    warm_up
        Seconds of load before each.
    size
        Bytes of ciphertext in each message, but in the cells that are about that.
    seed
        Of the draws in `zipf`.
    cell
        Only this one, beside 16x16; may be repeated.
    out
        A directory that gets result.json, the picture and report.html.
    json
        Print JSON on standard output instead of a table.
    """
    wanted = Wanted(rounds, seconds, warm_up, size, seed)
    names = [name for name in get_args(CellName) if not cell or name in (*cell, PLAIN)]
    try:
        with leaving(out, "cells", _command(wanted, cell), Path(gettempdir())) as leave:
            with unwound_when_told_to_end():  # between two relays there are histories to remove
                result = measure_cells(wanted, names)
            leave(result)
    except (StartError, RunError) as error:
        Console(stderr=True).print(f"There are no figures: {error}.", soft_wrap=True)
        return 1
    except CommandError as error:
        Console(stderr=True).print(f"{error.what}: {error.why}.", soft_wrap=True)
        return 1
    return tell(result, print_cells, json=json)


def measure_cells(wanted: Wanted, names: Sequence[CellName]) -> CellsResult:
    """All of these, in turns. What fails is left out, and told with the figures of the others.

    Raises:
        RunError: none could be measured; it is the first one's reason.
    """
    assert PLAIN in names
    shapes = {name: shape_of(name, wanted) for name in names}
    runs: dict[CellName, list[OrderingReport | None]] = {name: [] for name in names}
    alone: list[LmdbReport | None] = []
    failures: list[Failure] = []

    def kept(number: int, name: str, measure: Callable[[], R]) -> R | None:
        try:
            return measure()
        except (StartError, RunError) as error:
            failures.append(Failure(number, name, str(error)))
            return None

    for number, name in _turns(wanted.rounds, names):
        if sys.stderr.isatty():
            Console(stderr=True).print(f"Round {number} of {wanted.rounds}: {name}")
        run = kept(number, name, partial(measure_own_relay, shapes[name]))
        runs[name].append(run)
        if name == PLAIN:
            measure = partial(measure_lmdb_alone, run) if run is not None else None
            alone.append(None if measure is None else kept(number, LMDB_ALONE, measure))
    if not any(run is not None for of_one in runs.values() for run in of_one):
        raise RunError(failures[0].why)
    return CellsResult(
        rounds=wanted.rounds,
        plain=PLAIN,
        cells=tuple(_cells(names, runs)),
        lmdb_alone=lmdb_beside(alone, runs[PLAIN]),
        failures=tuple(failures),
    )


def measure_lmdb_alone(run: OrderingReport) -> LmdbReport:
    """As many messages in each transaction as that run had, as large, for as long.

    Raises:
        RunError: it could not be measured.
    """
    loads = {
        "--records-per-commit": max(1, round(run.messages_per_commit or 1)),
        "--conversations": run.pairs,
        "--size": run.size,
        "--seconds": run.seconds,
    }
    words = [word for flag, value in loads.items() for word in (flag, str(value))]
    finished = subprocess.run(
        [sys.executable, "-m", "bench.lmdb_alone", *words, "--json"],
        cwd=PACKAGES,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    if finished.returncode != 0:
        raise RunError(f"LMDB alone could not be measured: exit code {finished.returncode}")
    return msgspec.json.decode(finished.stdout, type=LmdbReport)


def shape_of(name: CellName, wanted: Wanted) -> Shape:
    """The load of a cell."""
    plain = Shape(16, 16, wanted.size, wanted.seconds, wanted.warm_up_seconds)
    match name:
        case "16x16":
            return plain
        case "1000x1":
            return plain._replace(pairs=1_000, in_flight=1)
        case "16x1":
            return plain._replace(in_flight=1)
        case "1x1":
            return plain._replace(pairs=1, in_flight=1)
        case "hot":  # as many in flight as in the plain one, and as many frames for each message
            return plain._replace(kind="hot", pairs=1, in_flight=256)
        case "hot-8":
            return plain._replace(kind="hot", pairs=8, in_flight=32)
        case "hub":
            return plain._replace(kind="hub", pairs=1_000, in_flight=1)
        case "zipf":
            drawn = plain._replace(kind="zipf", pairs=500, in_flight=1)
            return drawn._replace(conversations=CONVERSATIONS, seed=wanted.seed)
        case "4KiB":
            return plain._replace(size=4 << 10)
        case "64KiB":
            return plain._replace(size=64 << 10)
        case "json":
            return plain._replace(codec="json")
        case "sync":
            return plain._replace(sync_delay_ms=SYNC_DELAY_MS)


def _command(wanted: Wanted, chosen: Sequence[CellName]) -> str:
    words = [word for name in chosen for word in ("--cell", name)]
    return command_line(
        *("python", "-m", "bench.cells", *words),
        rounds=wanted.rounds,
        seconds=wanted.seconds,
        warm_up=wanted.warm_up_seconds,
        size=wanted.size,
        seed=wanted.seed,
    )


def _turns(rounds: int, names: Sequence[CellName]) -> Iterator[tuple[int, CellName]]:
    """Every other round goes backwards: what grows slower by and by meets all alike."""
    for number in range(1, rounds + 1):
        for name in names if number % 2 else reversed(names):
            yield number, name


def _cells(
    names: Sequence[CellName], runs: Mapping[CellName, Sequence[OrderingReport | None]]
) -> Iterator[Cell]:
    for name in names:
        if any(run is not None for run in runs[name]):
            yield cell_of(name, runs[name], None if name == PLAIN else runs[PLAIN])


if __name__ == "__main__":
    sys.exit(app(result_action="return_value"))
