"""Medians of interleaved rounds, and what the relay's rounds are to each peer's."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Final

from msgspec import Struct

from bench.ordering import load_own_relay
from bench.peers.choice import Peer
from bench.plan import Plan
from bench.run import GENERATOR_BOUND, Run, run_generator
from bench.shape import Shape

STREAMS: Final = 16
"""Over how many nats-server streams the pairs are spread: one alone syncs one after the other."""


class Round(Struct, frozen=True):
    """One server in one round."""

    acked_per_s: float
    delivered_per_s: float
    ack_p50_ms: float
    ack_p99_ms: float
    server_cpu: float | None
    generator_cpu: float
    lost: int
    """Messages without an ack, or that never came to the other side."""


class Column(Struct, frozen=True):
    """One peer in one shape. Ratios are relay ÷ peer in acked messages per second, by rounds.

    There are none where a generator was too busy to tell the servers apart.
    """

    peer: str
    rounds: tuple[Round, ...]
    acked_per_s: float
    ack_p50_ms: float
    generator_bound: bool
    ratio: float | None
    ratio_lowest: float | None
    ratio_highest: float | None


class Comparison(Struct, frozen=True):
    """One shape: the relay, and every peer beside it."""

    pairs: int
    in_flight: int
    size: int
    seconds: float
    relay: tuple[Round, ...]
    relay_acked_per_s: float
    relay_ack_p50_ms: float
    columns: tuple[Column, ...]

    @property
    def lost(self) -> int:
        """Messages of the relay's that had not come home in the end."""
        return sum(one.lost for one in self.relay)


def compare(shape: Shape, peers: Sequence[Peer], rounds: int) -> Comparison:
    """Measure the relay, then each peer, and all of that again, each on an empty store.

    Raises:
        StartError: a server does not start, or is not installed.
        RunError: one cannot be measured.
    """
    relay: list[Round] = []
    theirs: dict[str, list[Round]] = {peer.name: [] for peer in peers}
    for _ in range(rounds):
        relay.append(round_of(load_own_relay(shape)))
        for peer in peers:
            theirs[peer.name].append(round_of(measure(shape, peer)))
    return Comparison(
        pairs=shape.pairs,
        in_flight=shape.in_flight,
        size=shape.size,
        seconds=shape.seconds,
        relay=tuple(relay),
        relay_acked_per_s=median(one.acked_per_s for one in relay),
        relay_ack_p50_ms=median(one.ack_p50_ms for one in relay),
        columns=tuple(column(name, relay, measured) for name, measured in theirs.items()),
    )


def measure(shape: Shape, peer: Peer) -> Run:
    """One run against a server of this peer's, started for it."""
    with peer.serve() as server:
        plan = Plan(
            url=server.url,
            credentials=tuple(f"user-{number}" for number in range(2 * shape.pairs)),
            in_flight=shape.in_flight,
            size=shape.size,
            seconds=shape.seconds,
            warm_up_seconds=shape.warm_up_seconds,
            delivery="core",
            streams=min(STREAMS, shape.pairs),
        )
        return run_generator(peer.generator, plan, server.pid, peer.title)


def column(peer: str, relay: Sequence[Round], theirs: Sequence[Round]) -> Column:
    """Medians, and the ratio of each round; no ratios where a generator was the limit."""
    is_bound = any(one.generator_cpu > GENERATOR_BOUND for one in (*relay, *theirs))
    ratios = [
        ours.acked_per_s / other.acked_per_s
        for ours, other in zip(relay, theirs, strict=True)
        if other.acked_per_s and not is_bound
    ]
    return Column(
        peer=peer,
        rounds=tuple(theirs),
        acked_per_s=median(one.acked_per_s for one in theirs),
        ack_p50_ms=median(one.ack_p50_ms for one in theirs),
        generator_bound=is_bound,
        ratio=round(median(ratios), 3) if ratios else None,
        ratio_lowest=round(min(ratios), 3) if ratios else None,
        ratio_highest=round(max(ratios), 3) if ratios else None,
    )


def round_of(run: Run) -> Round:
    """What is compared of a run."""
    measured = run.measured
    return Round(
        measured.acked_per_s,
        measured.delivered_per_s,
        measured.ack_ms.p50,
        measured.ack_ms.p99,
        run.server_cpu,
        measured.generator_cpu,
        measured.unanswered + measured.undelivered,
    )
