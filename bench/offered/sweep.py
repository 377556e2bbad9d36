"""Loads one after the other, each several times, each judged: a relay's latency at every one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from msgspec import Struct

from bench.checker.check import Report, judge
from bench.checker.loading import load
from bench.checker.reading import HistoryError
from bench.offered import plan as plans
from bench.offered.measuring import Figures, figures_of
from bench.offered.plan import Offered, OfferedPlan
from bench.offered.syncs import SyncMeter, Syncs, sum_of_syncs
from bench.ordering import relay_version
from bench.places import aside, stores_of
from bench.plan import Progress, Refused, Started, Stopped
from bench.relay_of_its_own import Admin, relay_of_its_own
from bench.run import ENDED_EARLY, GENERATOR_BOUND, RunError, ServerCpu, generator, progress_bar
from bench.saturation import saturation_of
from bench.spread import Spread, spread
from bench.tokens_file import tokens_in

LOAD: Final = "bench.offered.load"
SHARES: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Of the saturation, where neither a rate nor shares of it are given."""


class Wish(NamedTuple):
    """What is to be measured; without a rate, these shares of what the relay can do."""

    rate_per_s: float | None
    pairs: int
    size: int
    seconds: float
    warm_up_seconds: float
    runs: int
    seed: int
    in_memory: bool = False
    url: str | None = None
    tokens: Path | None = None
    shares: Sequence[float] = SHARES


class LoadRun(Struct, frozen=True):
    """One load, once."""

    figures: Figures
    checker: Report
    unread: int
    generator_cpu: float
    relay_cpu: float | None
    syncs: Syncs | None = None
    """Of the relay, in the measured time; null of a relay that runs already."""

    @property
    def is_good(self) -> bool:
        """Whether frames were examined, all was acked and came, and no promise was broken."""
        lost = self.unread + self.figures.unacked + self.figures.undelivered
        return self.checker.ok and self.checker.order.checked > 0 and not lost


class Load(Struct, frozen=True):
    """One load, over its runs."""

    rate_per_s: float
    acked_per_s: Spread
    delivered_per_s: Spread
    ack_p50_ms: Spread
    ack_p99_ms: Spread
    ack_p999_ms: Spread
    ack_worst_ms: Spread
    delivery_p50_ms: Spread
    delivery_p99_ms: Spread
    delivery_p999_ms: Spread
    delivery_worst_ms: Spread
    generator_bound: bool
    """Whether the generator was so busy in a run that these figures are its own."""
    runs: tuple[LoadRun, ...]
    syncs: Syncs | None = None
    """Of all runs together."""


class LatencyReport(Struct, frozen=True):
    """All loads; as JSON this is what `--json` prints."""

    saturation_per_s: float | None
    pairs: int
    size: int
    seconds: float
    seed: int
    loads: tuple[Load, ...]

    @property
    def is_good(self) -> bool:
        """Whether every run of every load was."""
        return all(run.is_good for one in self.loads for run in one.runs)


class _Relay(NamedTuple):
    url: str
    tokens: tuple[str, ...]
    pid: int | None
    admin: Admin | None


def measure_latency(wish: Wish) -> LatencyReport:
    """Every load on an empty store, or on the relay that runs already.

    Raises:
        StartError: a relay does not start.
        RunError: it cannot be measured.
    """
    saturation = None
    rates: Sequence[float] = () if wish.rate_per_s is None else (wish.rate_per_s,)
    if not rates:
        with _relay(wish) as relay:
            saturation = saturation_of(
                relay.url, relay.tokens, relay.pid, wish.size, relay_version()
            )
        rates = [round(saturation * share, 1) for share in wish.shares]
    loads = tuple(_load(wish, rate) for rate in rates)
    return LatencyReport(saturation, wish.pairs, wish.size, wish.seconds, wish.seed, loads)


def load_of(rate_per_s: float, runs: Sequence[LoadRun]) -> Load:
    """Medians, with the lowest and the highest, of the runs of one load."""
    figures = [run.figures for run in runs]
    return Load(
        rate_per_s,
        spread([one.acked_per_s for one in figures]),
        spread([one.delivered_per_s for one in figures]),
        spread([one.ack_ms.p50 for one in figures]),
        spread([one.ack_ms.p99 for one in figures]),
        spread([one.ack_ms.p999 for one in figures]),
        spread([one.worst_ack_ms for one in figures]),
        spread([one.delivery_ms.p50 for one in figures]),
        spread([one.delivery_ms.p99 for one in figures]),
        spread([one.delivery_ms.p999 for one in figures]),
        spread([one.worst_delivery_ms for one in figures]),
        any(run.generator_cpu > GENERATOR_BOUND for run in runs),
        tuple(runs),
        sum_of_syncs(run.syncs for run in runs),
    )


def _load(wish: Wish, rate_per_s: float) -> Load:
    runs = []
    for number in range(wish.runs):
        with _relay(wish) as relay:
            runs.append(_run(wish, rate_per_s, wish.seed + number, relay))
    return load_of(rate_per_s, runs)


@contextmanager
def _relay(wish: Wish) -> Iterator[_Relay]:
    if wish.url is not None and wish.tokens is not None:
        tokens = tokens_in(wish.tokens, 2 * wish.pairs, wish.pairs)
        yield _Relay(wish.url, tokens, None, None)
        return
    users = [f"bench-{number}" for number in range(2 * wish.pairs)]
    with relay_of_its_own(users, stores=stores_of(in_memory=wish.in_memory)) as relay:
        yield _Relay(relay.url, tuple(relay.tokens), relay.pid, relay.admin)


def _run(wish: Wish, rate_per_s: float, seed: int, relay: _Relay) -> LoadRun:
    with aside() as directory:
        history = directory / "history"
        plan = OfferedPlan(
            relay.url,
            relay.tokens,
            rate_per_s,
            wish.size,
            wish.seconds,
            wish.warm_up_seconds,
            seed,
            str(history),
            relay_version(),
        )
        cpu, syncs = ServerCpu(relay.pid), SyncMeter(relay.admin)
        done = _offered(plan, cpu, syncs)
        try:
            story = load(history)
            return LoadRun(
                figures_of(story),
                judge(story),
                done.unread,
                done.generator_cpu,
                cpu.share,
                syncs.syncs,
            )
        except (HistoryError, OSError) as error:
            raise RunError(f"the history cannot be judged: {error}") from None


def _offered(plan: OfferedPlan, cpu: ServerCpu, syncs: SyncMeter) -> Offered:
    title = f"{plan.rate_per_s:,.0f} sends/s"
    with generator(LOAD, plan) as lines, progress_bar(title) as show:
        for line in lines:
            match plans.decode_report(line):
                case Progress() as progress:
                    show(progress)
                case Started():
                    cpu.begin()
                    syncs.begin()
                case Stopped():
                    cpu.end()
                    syncs.end()
                case Offered() as done:
                    return done
                case Refused(reason=reason):
                    raise RunError(reason)
    raise RunError(ENDED_EARLY)
