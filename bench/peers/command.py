"""The command: `python -m bench.peers --peers nats,redis --shapes 16x16,1000x1`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import gettempdir
from typing import Annotated, Final

from cyclopts import App, Parameter, validators
from msgspec import Struct
from rich.console import Console
from rich.table import Table

from bench.leaving import leaving
from bench.pages.result import command_line
from bench.peers.choice import PEERS, RELAY_PROMISES, Peer
from bench.peers.comparing import Comparison, compare
from bench.relay_of_its_own import StartError
from bench.run import GENERATOR_BOUND, RunError
from bench.shape import Shape
from bench.telling import print_json
from relay.exits import CommandError

DEFAULT_PEERS: Final = ",".join(PEERS)
DEFAULT_SHAPES: Final = "16x16,1000x1,16x1,1x1"

_POSITIVE: Final = validators.Number(gte=1)

app = App(name="bench.peers", help="Measure this relay and its peers in turns.")


class Promise(Struct, frozen=True):
    """What a peer's ack is worth."""

    peer: str
    is_synced: bool
    ack_promises: str
    does_not: str


class Report(Struct, frozen=True):
    """Everything; as JSON this is what `--json` prints."""

    relay_ack_promises: str
    peers: tuple[Promise, ...]
    comparisons: tuple[Comparison, ...]


class ChoiceError(ValueError):
    """A peer or a shape that there is not."""


@app.default
def beside_peers(
    *,
    peers: str = DEFAULT_PEERS,
    shapes: str = DEFAULT_SHAPES,
    rounds: Annotated[int, Parameter(validator=_POSITIVE)] = 5,
    seconds: Annotated[float, Parameter(validator=validators.Number(gt=0, lte=600))] = 5.0,
    warm_up: Annotated[float, Parameter(validator=validators.Number(gte=0, lte=60))] = 2.0,
    size: Annotated[int, Parameter(validator=_POSITIVE)] = 300,
    out: Path | None = None,
    json: bool = False,
) -> int:
    """Measure this relay and its peers in turns, and compare.

    Parameters
    ----------
    peers
        Which, with commas between; one that is not installed ends the command.
    shapes
        Pairs x sends in flight on each side, with commas between.
    rounds
        How often each is measured.
    seconds
        How long each measurement takes.
    warm_up
        Seconds of load before each.
    size
        Bytes of payload in each message.
    out
        A directory that gets result.json and report.html.
    json
        Print JSON on standard output instead of a table.
    """
    try:
        chosen = chosen_peers(peers)
        wanted = [Shape(*one, size, seconds, warm_up) for one in chosen_shapes(shapes)]
        for peer in chosen:  # known before an hour has passed
            with peer.serve():
                pass
        command = command_line(
            *("python", "-m", "bench.peers"),
            peers=peers,
            shapes=shapes,
            rounds=rounds,
            seconds=seconds,
            warm_up=warm_up,
            size=size,
        )
        promises = tuple(Promise(p.name, p.is_synced, p.ack_promises, p.does_not) for p in chosen)
        with leaving(out, "peers", command, Path(gettempdir())) as leave:
            comparisons = tuple(compare(shape, chosen, rounds) for shape in wanted)
            report = Report(RELAY_PROMISES, promises, comparisons)
            leave(report)
    except (ChoiceError, StartError, RunError) as error:
        Console(stderr=True).print(f"There is no comparison: {error}.", soft_wrap=True)
        return 1
    except CommandError as error:
        Console(stderr=True).print(f"{error.what}: {error.why}.", soft_wrap=True)
        return 1
    if json:
        print_json(report)
    else:
        _print(comparisons, chosen)
    return 1 if any(one.lost for one in comparisons) else 0


def chosen_peers(names: str) -> list[Peer]:
    """The peers of these names.

    Raises:
        ChoiceError: there is none of a name.
    """
    try:
        return [PEERS[name.strip()] for name in names.split(",")]
    except KeyError:
        raise ChoiceError(f"the peers are {', '.join(PEERS)}") from None


def chosen_shapes(shapes: str) -> list[tuple[int, int]]:
    """Pairs and sends in flight of `16x16,1000x1`.

    Raises:
        ChoiceError: one is not written so.
    """
    chosen = []
    for shape in shapes.split(","):
        pairs, _, in_flight = shape.strip().partition("x")
        if not (pairs.isdecimal() and in_flight.isdecimal() and int(pairs) and int(in_flight)):
            raise ChoiceError("a shape is pairs x sends in flight, such as 16x16")
        chosen.append((int(pairs), int(in_flight)))
    return chosen


def _print(comparisons: Sequence[Comparison], peers: Sequence[Peer]) -> None:
    table = Table(
        "pairs × in flight", "server", "acked/s", "ack p50, ms", "relay ÷ it", "of the rounds",
        title=f"Medians of {len(comparisons[0].relay)} rounds in turns",
    )  # fmt: skip
    for one in comparisons:
        figures = f"{one.relay_acked_per_s:,.0f}", f"{one.relay_ack_p50_ms:.2f}"
        table.add_row(f"{one.pairs:,} × {one.in_flight}", "this relay", *figures, "", "")
        for beside in one.columns:
            table.add_row(
                "",
                PEERS[beside.peer].title,
                f"{beside.acked_per_s:,.0f}",
                f"{beside.ack_p50_ms:.2f}",
                "–" if beside.ratio is None else f"{beside.ratio:.2f}",
                "–" if beside.ratio is None
                else f"{beside.ratio_lowest:.2f} … {beside.ratio_highest:.2f}",
            )  # fmt: skip
    console = Console(highlight=False)
    console.print(table)
    console.print(f"An ack of this relay: {RELAY_PROMISES}.", soft_wrap=True)
    for peer in peers:
        console.print(f"An ack of {peer.title}: {peer.ack_promises}.", soft_wrap=True)
        console.print(f"    Beside that: {peer.does_not}.", soft_wrap=True)
    if any(column.generator_bound for one in comparisons for column in one.columns):
        console.print(
            f"Where there is no ratio, a load generator took more than {GENERATOR_BOUND:.0%} of a"
            " core, and would have been compared instead.",
            soft_wrap=True,
        )
