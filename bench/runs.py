"""Several runs of the ordering benchmark, each on a relay of its own: medians, with spread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median

import msgspec
from msgspec import Struct

from bench.latency import Percentiles
from bench.ordering import OrderingReport


class Spread(Struct, frozen=True):
    """One figure of several runs."""

    median: float
    lowest: float
    highest: float


class Spreads(Struct, frozen=True):
    """Of percentiles, in milliseconds."""

    p50: Spread
    p99: Spread
    p999: Spread


class Medians(Struct, frozen=True):
    """The figures of several runs. Null is what no run could tell."""

    acked_per_s: Spread
    delivered_per_s: Spread
    ack_ms: Spreads
    delivery_ms: Spreads
    generator_cpu: Spread
    relay_cpu: Spread | None


class RunsReport(OrderingReport, frozen=True, kw_only=True):
    """The fields of one run are those of the run in the middle by acks per second.

    Of an even number it is the lower of the two. `runs` has all of them, in the order in which
    they were made, each with the fields of one run.
    """

    medians: Medians
    runs: tuple[OrderingReport, ...]

    @property
    def is_good(self) -> bool:
        """Whether every run is."""
        return all(one.is_good for one in self.runs)


def measure_runs(measure: Callable[[], OrderingReport], runs: int) -> OrderingReport:
    """One run's report, or that of several.

    Raises:
        StartError: a relay does not start.
        RunError: a run could not be measured; there is no report of the others either.
    """
    made = [measure() for _ in range(runs)]
    return made[0] if runs == 1 else together(made)


def together(runs: Sequence[OrderingReport]) -> RunsReport:
    """The report of these runs."""
    middle = sorted(runs, key=lambda one: one.acked_per_s)[(len(runs) - 1) // 2]
    return RunsReport(**msgspec.structs.asdict(middle), medians=_medians(runs), runs=tuple(runs))


def spread(figures: Sequence[float], digits: int = 3) -> Spread:
    """Median, lowest and highest of at least one."""
    return Spread(*(round(pick(figures), digits) for pick in (median, min, max)))


def _medians(runs: Sequence[OrderingReport]) -> Medians:
    relay_cpu = [one.relay_cpu for one in runs if one.relay_cpu is not None]
    return Medians(
        spread([one.acked_per_s for one in runs]),
        spread([one.delivered_per_s for one in runs]),
        _percentiles([one.ack_ms for one in runs]),
        _percentiles([one.delivery_ms for one in runs]),
        spread([one.generator_cpu for one in runs]),
        spread(relay_cpu) if relay_cpu else None,
    )


def _percentiles(runs: Sequence[Percentiles]) -> Spreads:
    return Spreads(
        spread([one.p50 for one in runs]),
        spread([one.p99 for one in runs]),
        spread([one.p999 for one in runs]),
    )
