"""Medians of interleaved rounds, and what the relay's rounds are to each peer's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median
from typing import Final, NamedTuple

from msgspec import Struct

from bench.ordering import load_own_relay
from bench.peers.choice import Peer
from bench.plan import Plan
from bench.run import GENERATOR_BOUND, Run, RunError, run_generator
from bench.shape import Shape
from bench.spread import Spread, spread

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
    """One peer in one shape. A ratio is the relay's figure ÷ the peer's of the same round.

    There are no ratios where a generator was too busy to tell the servers apart, or where nothing
    was acked.
    """

    peer: str
    rounds: tuple[Round, ...]
    acked_per_s: float
    ack_p50_ms: float
    own_benchmark_per_s: tuple[float, ...]
    """What the peer's own benchmark said, once a round; empty where it has none."""
    generator_bound: bool
    rate_ratio: Spread | None
    """Of acked messages per second; above 1 the relay is faster."""
    latency_ratio: Spread | None
    """Of the median time to an ack; below 1 the relay is faster."""


class Comparison(Struct, frozen=True):
    """One shape: the relay, and every peer beside it."""

    shape: str
    pairs: int
    in_flight: int
    size: int
    seconds: float
    sync_delay_ms: float
    relay: tuple[Round, ...]
    relay_acked_per_s: float
    relay_ack_p50_ms: float
    columns: tuple[Column, ...]

    @property
    def lost(self) -> int:
        """Messages of the relay's that had not come home in the end."""
        return sum(one.lost for one in self.relay)


class Beside(NamedTuple):
    """A peer in one round, and what its own benchmark said of a server like that one."""

    round: Round
    own_per_s: float | None


def compare(
    shape: Shape,
    peers: Sequence[Peer],
    rounds: int,
    *,
    streams: int = STREAMS,
    with_own: bool = True,
) -> Comparison:
    """Measure the relay, then each peer, and all of that again, each on an empty store.

    Raises:
        StartError: a server does not start, or is not installed.
        RunError: one cannot be measured.
    """
    relay: list[Round] = []
    theirs: dict[str, list[Beside]] = {peer.name: [] for peer in peers}
    for _ in range(rounds):
        relay.append(round_of(load_own_relay(shape)))
        for peer in peers:
            measured = round_of(measure(shape, peer, streams))
            own = own_figure(shape, peer, measured) if with_own else None
            theirs[peer.name].append(Beside(measured, own))
    return Comparison(
        shape=name_of(shape),
        pairs=shape.pairs,
        in_flight=shape.in_flight,
        size=shape.size,
        seconds=shape.seconds,
        sync_delay_ms=shape.sync_delay_ms,
        relay=tuple(relay),
        relay_acked_per_s=median(one.acked_per_s for one in relay),
        relay_ack_p50_ms=median(one.ack_p50_ms for one in relay),
        columns=tuple(column(name, relay, beside) for name, beside in theirs.items()),
    )


def measure(shape: Shape, peer: Peer, streams: int = STREAMS) -> Run:
    """One run against a server of this peer's, started for it.

    Raises:
        StartError: it does not start, or is not installed.
        RunError: it cannot be measured.
    """
    users = _users(shape)
    with peer.serve(users, shape.sync_delay_ms) as server:
        plan = Plan(
            url=server.url,
            credentials=users,
            in_flight=shape.in_flight,
            size=shape.size,
            seconds=shape.seconds * peer.patience,
            warm_up_seconds=shape.warm_up_seconds * peer.patience,
            delivery=peer.delivery,
            streams=min(streams, shape.pairs),
        )
        try:
            return run_generator(peer.generator, plan, server.pid, peer.title)
        except RunError as error:
            raise RunError(f"{peer.title}: {error}") from None


def own_figure(shape: Shape, peer: Peer, measured: Round) -> float | None:
    """What the peer's own benchmark says, with about as many messages as ours has just sent."""
    if peer.own_benchmark is None:
        return None
    messages = max(1, round(measured.acked_per_s * shape.seconds))
    with peer.serve(_users(shape), shape.sync_delay_ms) as server:
        return peer.own_benchmark(server, shape, messages)


def column(peer: str, relay: Sequence[Round], theirs: Sequence[Beside]) -> Column:
    """Medians, and the ratios of the rounds; no ratios where a generator was the limit."""
    rounds = tuple(one.round for one in theirs)
    is_bound = any(one.generator_cpu > GENERATOR_BOUND for one in (*relay, *rounds))
    has_ratios = not is_bound and all(one.acked_per_s for one in (*relay, *rounds))

    def ratio(figure: Callable[[Round], float]) -> Spread | None:
        return ratio_of([*map(figure, relay)], [*map(figure, rounds)]) if has_ratios else None

    return Column(
        peer=peer,
        rounds=rounds,
        acked_per_s=median(one.acked_per_s for one in rounds),
        ack_p50_ms=median(one.ack_p50_ms for one in rounds),
        own_benchmark_per_s=tuple(one.own_per_s for one in theirs if one.own_per_s is not None),
        generator_bound=is_bound,
        rate_ratio=ratio(lambda one: one.acked_per_s),
        latency_ratio=ratio(lambda one: one.ack_p50_ms),
    )


def ratio_of(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """Of each round."""
    ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
    return spread(ratios)


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


def name_of(shape: Shape) -> str:
    """As a person writes it: `16x16`, or `16x16+5ms` with syncs that take so much longer."""
    late = f"+{shape.sync_delay_ms:g}ms" if shape.sync_delay_ms else ""
    return f"{shape.pairs}x{shape.in_flight}{late}"


def _users(shape: Shape) -> tuple[str, ...]:
    return tuple(f"user{number}" for number in range(2 * shape.pairs))
