"""The command: `python -m bench.peers --peers nats,redis --shapes 16x16,16x16+5ms`."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import gettempdir
from typing import Annotated, Final

from cyclopts import App, Parameter, validators
from rich.console import Console

from bench.leaving import leaving
from bench.pages.result import command_line
from bench.peers.choice import DEFAULT, PEERS, RELAY_PROMISES, Peer
from bench.peers.comparing import STREAMS, Comparison, compare, name_of
from bench.peers.floors import judge
from bench.peers.result import PeersReport, Promise
from bench.peers.server import program
from bench.peers.table import print_comparisons
from bench.relay_of_its_own import StartError
from bench.run import RunError
from bench.shape import Shape
from bench.telling import tell
from relay.exits import CommandError

DEFAULT_PEERS: Final = ",".join(DEFAULT)
DEFAULT_SHAPES: Final = "16x16,1000x1,16x1,1x1,16x16+5ms"

_SHAPE: Final = re.compile(r"([1-9]\d{0,5})x([1-9]\d{0,5})(?:\+([1-9]\d{0,3})ms)?", re.ASCII)
_POSITIVE: Final = validators.Number(gte=1)
_MOST_SECONDS: Final = validators.Number(gt=0, lte=600)

app = App(name="bench.peers", help="Measure this relay and its peers in turns.")


class ChoiceError(ValueError):
    """A peer or a shape that there is not."""


@app.default
def beside_peers(
    *,
    peers: str = DEFAULT_PEERS,
    shapes: str = DEFAULT_SHAPES,
    rounds: Annotated[int, Parameter(validator=_POSITIVE)] = 5,
    seconds: Annotated[float, Parameter(validator=_MOST_SECONDS)] = 5.0,
    warm_up: Annotated[float, Parameter(validator=validators.Number(gte=0, lte=60))] = 2.0,
    size: Annotated[int, Parameter(validator=_POSITIVE)] = 300,
    nats_streams: Annotated[int, Parameter(validator=_POSITIVE)] = STREAMS,
    own_benchmarks: bool = True,
    out: Path | None = None,
    json: bool = False,
) -> int:
    """Measure this relay and its peers in turns, and compare.

    Exits with 1 when a message of the relay's was lost, when it was slower than is asked of it, or
    when something could not be measured: then the shapes before that are told all the same.

    Parameters
    ----------
    peers
        Which, with commas between; one that is not installed ends the command.
    shapes
        Pairs x sends in flight on each side, with commas between; 16x16+5ms: with syncs that take
        5 ms longer, where the relay and the peers that are asked so are measured.
    rounds
        How often each is measured.
    seconds
        How long each measurement takes; Prosody's takes three times as long.
    warm_up
        Seconds of load before each.
    size
        Bytes of payload in each message.
    nats_streams
        Over how many streams nats-server's conversations are spread. A stream syncs one message
        after the other, so one alone shows how long a sync takes.
    own_benchmarks
        Also run the benchmark that a peer comes with.
    out
        A directory that gets result.json and report.html.
    json
        Print JSON on standard output instead of a table.
    """
    try:
        chosen = chosen_peers(peers)
        wanted = [
            Shape(pairs, in_flight, size, seconds, warm_up, sync_delay_ms=delay_ms)
            for pairs, in_flight, delay_ms in chosen_shapes(shapes)
        ]
        measured = partial(compare, rounds=rounds, streams=nats_streams, with_own=own_benchmarks)
        command = command_line(
            *("python", "-m", "bench.peers"),
            peers=peers,
            shapes=shapes,
            rounds=rounds,
            seconds=seconds,
            warm_up=warm_up,
            size=size,
            nats_streams=nats_streams,
            no_own_benchmarks=not own_benchmarks,
        )
        with leaving(out, "peers", command, Path(gettempdir())) as leave:
            _require_installed(chosen, wanted)
            comparisons, failure = _compared(wanted, chosen, measured)
            report = _report(comparisons, chosen, nats_streams, failure)
            leave(report)
    except (ChoiceError, StartError, RunError) as error:
        Console(stderr=True).print(f"There is no comparison: {error}.", soft_wrap=True)
        return 1
    except CommandError as error:
        Console(stderr=True).print(f"{error.what}: {error.why}.", soft_wrap=True)
        return 1
    code = tell(report, lambda told: print_comparisons(comparisons, chosen, told.floors), json=json)
    if failure:
        Console(stderr=True).print(f"There is no more: {failure}.", soft_wrap=True)
    return code


def _compared(
    shapes: list[Shape], peers: list[Peer], measured: Callable[[Shape, list[Peer]], Comparison]
) -> tuple[list[Comparison], str | None]:
    """Shape by shape, until one cannot be measured, and why that is.

    Raises:
        RunError: the first one cannot.
    """
    comparisons: list[Comparison] = []
    for shape in shapes:
        asked = [one for one in peers if one.is_asked_late or not shape.sync_delay_ms]
        try:
            comparisons.append(measured(shape, asked))
        except (StartError, RunError) as error:
            failure = f"{name_of(shape)}: {error}"
            if not comparisons:
                raise RunError(failure) from None
            return comparisons, failure
    return comparisons, None


def _report(
    comparisons: list[Comparison], chosen: list[Peer], nats_streams: int, failure: str | None
) -> PeersReport:
    return PeersReport(
        relay_ack_promises=RELAY_PROMISES,
        peers=tuple(_promise(peer) for peer in chosen),
        nats_streams=nats_streams,
        comparisons=tuple(comparisons),
        floors=tuple(judge(comparisons)),
        failure=failure,
    )


def chosen_peers(names: str) -> list[Peer]:
    """The peers of these names.

    Raises:
        ChoiceError: there is none of a name.
    """
    try:
        return [PEERS[name.strip()] for name in names.split(",")]
    except KeyError:
        raise ChoiceError(f"the peers are {', '.join(PEERS)}") from None


def chosen_shapes(shapes: str) -> list[tuple[int, int, float]]:
    """Pairs, sends in flight and how much later syncs are, of `16x16,16x16+5ms`.

    Raises:
        ChoiceError: one is not written so.
    """
    chosen = []
    for shape in shapes.split(","):
        found = _SHAPE.fullmatch(shape.strip())
        if found is None:
            raise ChoiceError("a shape is pairs x sends in flight, such as 16x16 or 16x16+5ms")
        chosen.append((int(found[1]), int(found[2]), float(found[3] or 0)))
    return chosen


def _require_installed(peers: list[Peer], shapes: list[Shape]) -> None:
    """Known before an hour has passed.

    Raises:
        StartError: something is not installed, or does not start.
    """
    if any(shape.sync_delay_ms for shape in shapes):
        program("strace")
    for peer in peers:
        with peer.serve(("user0", "user1"), 0.0):
            pass


def _promise(peer: Peer) -> Promise:
    return Promise(
        peer.name,
        peer.version(),
        peer.is_synced,
        peer.ack_is,
        peer.ack_promises,
        peer.beyond,
        peer.own_benchmark_is,
    )
