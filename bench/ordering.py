"""The ordering benchmark: load on a relay, every conversation checked at every receiver."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from msgspec import Struct

from bench.latency import Percentiles
from bench.order import OrderCounts
from bench.plan import Plan
from bench.relay_of_its_own import LIFTED, relay_of_its_own
from bench.run import Run, RunError, run_generator

GENERATOR: Final = "bench.generator"


class Shape(NamedTuple):
    """N pairs, both sides sending, so many unacked sends of so many bytes each, for how long."""

    pairs: int
    in_flight: int
    size: int
    seconds: float
    warm_up_seconds: float


class OrderingReport(Struct, frozen=True):
    """One run; as JSON this is what `--json` prints."""

    pairs: int
    in_flight: int
    size: int
    seconds: float
    acked_per_s: float
    delivered_per_s: float
    ack_ms: Percentiles
    delivery_ms: Percentiles
    order: OrderCounts
    unanswered: int
    rate_limited: int
    retried: int
    generator_cpu: float
    generator_bound: bool
    relay_cpu: float | None
    limits_lifted: tuple[str, ...]

    @property
    def is_good(self) -> bool:
        """Whether order was examined and no promise of it was seen broken."""
        return self.order.checked > 0 and self.order.violations == 0


def measure_own_relay(shape: Shape) -> OrderingReport:
    """Measure a relay started for this, its rate limits lifted.

    Raises:
        StartError: it does not start.
        RunError: it cannot be measured.
    """
    users = [f"bench-{number}" for number in range(2 * shape.pairs)]
    with relay_of_its_own(users) as relay:
        run = run_generator(GENERATOR, _plan(shape, relay.url, relay.tokens), relay.pid, "relay")
    return _report(shape, run, tuple(LIFTED))


def measure_relay_at(url: str, tokens_file: Path, shape: Shape) -> OrderingReport:
    """Measure a relay that runs already, as it is configured.

    Raises:
        RunError: it cannot be measured, or the file holds too few tokens.
    """
    tokens = tokens_file.read_text().split()[: 2 * shape.pairs]
    if len(tokens) < 2 * shape.pairs:
        raise RunError(f"{shape.pairs} pairs need {2 * shape.pairs} tokens, one a line")
    return _report(shape, run_generator(GENERATOR, _plan(shape, url, tokens), None, "relay"), ())


def _plan(shape: Shape, url: str, tokens: Sequence[str]) -> Plan:
    return Plan(
        url, tuple(tokens), shape.in_flight, shape.size, shape.seconds, shape.warm_up_seconds
    )


def _report(shape: Shape, run: Run, limits_lifted: tuple[str, ...]) -> OrderingReport:
    measured = run.measured
    return OrderingReport(
        pairs=shape.pairs,
        in_flight=shape.in_flight,
        size=shape.size,
        seconds=measured.seconds,
        acked_per_s=measured.acked_per_s,
        delivered_per_s=measured.delivered_per_s,
        ack_ms=measured.ack_ms,
        delivery_ms=measured.delivery_ms,
        order=measured.order,
        unanswered=measured.unanswered,
        rate_limited=measured.rate_limited,
        retried=measured.retried,
        generator_cpu=measured.generator_cpu,
        generator_bound=run.is_generator_bound,
        relay_cpu=run.server_cpu,
        limits_lifted=limits_lifted,
    )
