"""This relay beside nats-server, in turns on the same machine: `python -m bench.beside_nats`.

Each round measures one and then the other, each started anew on an empty store, so that what else
the machine does meets both. Told are the medians, and the ratio of each round with its spread.
What an ack promises is printed with the figures, since speed alone compares nothing. Nothing is
recorded here, because a generator that records is busier than its counterpart: whether the relay
keeps its promises under this load is what `ksmp-relay bench ordering` judges.
"""

from __future__ import annotations

import sys
from statistics import median
from typing import Annotated, Final, Literal

from cyclopts import App, Parameter, validators
from msgspec import Struct
from rich.console import Console
from rich.table import Table

from bench.nats_server import VERSION, nats_server
from bench.ordering import GENERATOR, load_own_relay
from bench.plan import Plan
from bench.relay_of_its_own import StartError
from bench.run import GENERATOR_BOUND, Run, RunError, run_generator
from bench.shape import Shape
from bench.telling import print_json

NATS_GENERATOR: Final = "bench.nats"
SHAPES: Final = ((16, 16), (1_000, 1))
"""Pairs, and sends in flight on each side."""

RELAY_PROMISE: Final = (
    "the record, its number in the conversation, its chain, its idempotency key (kept for ever) and"
    " both inboxes' rows are in one transaction that has been synced"
)
NATS_PROMISE: Final = (
    "the message is in the stream's file, which has been synced (sync_interval: always); its id is"
    " remembered for the duplicate window, two minutes by default"
)
DELIVERIES: Final = {
    "core": "live from the subject, perhaps before it is stored",
    "consumer": "from the stored stream, by an ordered push consumer for each user",
}

_POSITIVE: Final = validators.Number(gte=1)

app = App(name="bench.beside_nats", help="Measure this relay and nats-server in turns.")


class Side(Struct, frozen=True):
    """One server in one round."""

    acked_per_s: float
    delivered_per_s: float
    ack_p99_ms: float
    server_cpu: float | None
    generator_cpu: float


class Comparison(Struct, frozen=True):
    """One shape, all rounds. Ratios are relay ÷ nats-server in acked messages per second.

    There are none where a generator was too busy to tell the servers apart.
    """

    pairs: int
    in_flight: int
    size: int
    seconds: float
    relay: tuple[Side, ...]
    nats: tuple[Side, ...]
    relay_acked_per_s: float
    nats_acked_per_s: float
    generator_bound: bool
    ratio: float | None
    ratio_lowest: float | None
    ratio_highest: float | None
    undelivered: int
    """Messages of the relay's that had not reached the other side in the end."""


class Report(Struct, frozen=True):
    """Everything; as JSON this is what `--json` prints."""

    nats_version: str
    nats_delivery: str
    nats_streams: int
    relay_ack_promises: str
    nats_ack_promises: str
    comparisons: tuple[Comparison, ...]


@app.default
def beside_nats(
    *,
    rounds: Annotated[int, Parameter(validator=_POSITIVE)] = 5,
    seconds: Annotated[float, Parameter(validator=validators.Number(gt=0, lte=600))] = 5.0,
    warm_up: Annotated[float, Parameter(validator=validators.Number(gte=0, lte=60))] = 2.0,
    size: Annotated[int, Parameter(validator=_POSITIVE)] = 256,
    shape: tuple[int, int] | None = None,
    delivery: Literal["core", "consumer"] = "core",
    streams: Annotated[int, Parameter(validator=_POSITIVE)] = 16,
    json: bool = False,
) -> int:
    """Measure this relay and nats-server in turns, and compare.

    Parameters
    ----------
    rounds
        How often each is measured.
    seconds
        How long each measurement takes.
    warm_up
        Seconds of load before each.
    size
        Bytes of payload in each message.
    shape
        Only this many pairs with so many sends in flight, such as 16 16.
    delivery
        How nats-server's users get messages; core is the faster one.
    streams
        Over how many streams the conversations are spread. A stream syncs one message after the
        other, so one alone shows how long a sync takes.
    json
        Print JSON on standard output instead of a table.
    """
    shapes = SHAPES if shape is None else (shape,)
    try:
        report = Report(
            VERSION,
            delivery,
            streams,
            RELAY_PROMISE,
            f"{NATS_PROMISE}; delivered {DELIVERIES[delivery]}",
            tuple(
                _compare(Shape(pairs, in_flight, size, seconds, warm_up), rounds, delivery, streams)
                for pairs, in_flight in shapes
            ),
        )
    except (StartError, RunError) as error:
        Console(stderr=True).print(f"There is no comparison: {error}.", soft_wrap=True)
        return 1
    if json:
        print_json(report)
    else:
        _print(report)
    return 1 if any(one.undelivered for one in report.comparisons) else 0


def _compare(shape: Shape, rounds: int, delivery: str, streams: int) -> Comparison:
    relay, nats, undelivered = [], [], 0
    for _ in range(rounds):
        ours = load_own_relay(shape)
        undelivered += ours.measured.undelivered
        relay.append(_side(ours))
        nats.append(_side(_measure_nats(shape, delivery, streams)))
    return comparison(shape, relay, nats, undelivered)


def comparison(shape: Shape, relay: list[Side], nats: list[Side], undelivered: int) -> Comparison:
    """Medians, and the ratios of the rounds; no ratios where a generator was the limit."""
    is_bound = any(side.generator_cpu > GENERATOR_BOUND for side in relay + nats)
    ratios = [
        ours.acked_per_s / theirs.acked_per_s
        for ours, theirs in zip(relay, nats, strict=True)
        if theirs.acked_per_s and not is_bound
    ]
    return Comparison(
        pairs=shape.pairs,
        in_flight=shape.in_flight,
        size=shape.size,
        seconds=shape.seconds,
        relay=tuple(relay),
        nats=tuple(nats),
        relay_acked_per_s=median(side.acked_per_s for side in relay),
        nats_acked_per_s=median(side.acked_per_s for side in nats),
        generator_bound=is_bound,
        ratio=round(median(ratios), 3) if ratios else None,
        ratio_lowest=round(min(ratios), 3) if ratios else None,
        ratio_highest=round(max(ratios), 3) if ratios else None,
        undelivered=undelivered,
    )


def _measure_nats(shape: Shape, delivery: str, streams: int) -> Run:
    with nats_server() as server:
        plan = Plan(
            url=server.url,
            credentials=tuple(f"user-{number}" for number in range(2 * shape.pairs)),
            in_flight=shape.in_flight,
            size=shape.size,
            seconds=shape.seconds,
            warm_up_seconds=shape.warm_up_seconds,
            delivery=delivery,
            streams=min(streams, shape.pairs),
        )
        return run_generator(NATS_GENERATOR, plan, server.pid, "nats-server")


def _side(run: Run) -> Side:
    measured = run.measured
    return Side(
        measured.acked_per_s,
        measured.delivered_per_s,
        measured.ack_ms.p99,
        run.server_cpu,
        measured.generator_cpu,
    )


def _print(report: Report) -> None:
    rounds = len(report.comparisons[0].relay)
    table = Table(
        "pairs × in flight",
        "relay acked/s",
        "nats-server acked/s",
        "ratio",
        "of the rounds",
        title=f"Medians of {rounds} rounds in turns; {GENERATOR} and {NATS_GENERATOR}",
    )
    for one in report.comparisons:
        table.add_row(
            f"{one.pairs:,} × {one.in_flight}",
            f"{one.relay_acked_per_s:,.0f}",
            f"{one.nats_acked_per_s:,.0f}",
            "–" if one.ratio is None else f"{one.ratio:.2f}",
            "–" if one.ratio is None else f"{one.ratio_lowest:.2f} … {one.ratio_highest:.2f}",
        )
    console = Console(highlight=False)
    console.print(table)
    console.print(f"An ack of this relay: {report.relay_ack_promises}.", soft_wrap=True)
    console.print(
        f"An ack of nats-server {report.nats_version}: {report.nats_ack_promises};"
        f" conversations in up to {report.nats_streams} streams.",
        soft_wrap=True,
    )
    if any(one.generator_bound for one in report.comparisons):
        console.print(
            f"Where there is no ratio, a load generator took more than {GENERATOR_BOUND:.0%} of a"
            " core, and would have been compared instead.",
            soft_wrap=True,
        )


if __name__ == "__main__":
    sys.exit(app(result_action="return_value"))
