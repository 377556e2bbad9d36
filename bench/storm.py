"""The storm benchmark: how soon everybody is back and has everything, after all dropped at once."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

from msgspec import Struct

from bench.checker.check import Report
from bench.descriptors import DescriptorLimitError, make_room_for
from bench.idle import resident_kib
from bench.idle_plan import Opened
from bench.judged import judged
from bench.ordering import relay_version
from bench.plan import Progress, Refused, Started, Stopped
from bench.relay_of_its_own import LIFTED, OwnRelay, relay_of_its_own
from bench.run import ENDED_EARLY, GENERATOR_BOUND, RunError, ServerCpu, generator, progress_bar
from bench.storm_plan import Returned, StormPlan, decode_report

GENERATOR: Final = "bench.storm_load"
SENDERS: Final = 16


class StormShape(NamedTuple):
    """Who drops, what they miss, and over how long they come back."""

    connections: int
    messages: int
    size: int
    spread_seconds: float
    seed: int


class StormReport(Struct, frozen=True):
    """One run; as JSON this is what `--json` prints."""

    connections: int
    messages: int
    size: int
    spread_seconds: float
    seed: int
    caught_up_seconds: float
    handshakes_per_s: float
    """While all came back."""

    opening_handshakes_per_s: float
    """At the beginning, so many at once and no more."""

    repeated_handshakes: int
    missing: int
    relay_cpu: float | None
    relay_rss_kib: int
    generator_cpu: float
    generator_bound: bool
    checker: Report

    @property
    def is_good(self) -> bool:
        """Whether everybody has everything, and no promise was seen broken."""
        return self.checker.ok and not self.missing


def measure_storm(shape: StormShape) -> StormReport:
    """Measure a relay started for this, its limits on connections lifted.

    Raises:
        StartError: it does not start.
        RunError: it cannot be measured.
    """
    connections = shape.connections + SENDERS
    try:
        make_room_for(connections)
    except DescriptorLimitError as error:
        raise RunError(str(error)) from None
    users = [f"storm-{number}" for number in range(connections)]
    with TemporaryDirectory(prefix="ksmp-storm-") as name:
        history = Path(name) / "history"
        with relay_of_its_own(users, _settings(connections)) as relay:
            run = _run(shape, relay, history)
        checked = judged(history)
    returned = run.returned
    return StormReport(
        connections=shape.connections,
        messages=shape.messages,
        size=shape.size,
        spread_seconds=shape.spread_seconds,
        seed=shape.seed,
        caught_up_seconds=returned.caught_up_seconds,
        handshakes_per_s=round(shape.connections / returned.caught_up_seconds, 1),
        opening_handshakes_per_s=run.opened.handshakes_per_s,
        repeated_handshakes=returned.repeated_handshakes,
        missing=returned.missing,
        relay_cpu=run.relay_cpu,
        relay_rss_kib=run.rss_kib,
        generator_cpu=returned.generator_cpu,
        generator_bound=returned.generator_cpu > GENERATOR_BOUND,
        checker=checked,
    )


def _settings(connections: int) -> dict[str, str]:
    room = str(max(connections, int(LIFTED["KSMP_LIMITS__CONNECTIONS"])))
    return {
        "KSMP_LIMITS__CONNECTIONS": room,
        "KSMP_LIMITS__CONNECTIONS_PER_ADDRESS": room,
    }


class _Run(NamedTuple):
    opened: Opened
    relay_cpu: float | None
    rss_kib: int
    returned: Returned


def _run(shape: StormShape, relay: OwnRelay, history: Path) -> _Run:
    plan = StormPlan(
        relay.url,
        tuple(relay.tokens[SENDERS:]),
        tuple(relay.tokens[:SENDERS]),
        shape.messages,
        shape.size,
        shape.spread_seconds,
        shape.seed,
        str(history),
        relay_version(),
    )
    opened, rss_kib, cpu = Opened(0.0), 0, ServerCpu(relay.pid)
    with generator(GENERATOR, plan) as lines, progress_bar("storm") as show:
        for line in lines:
            match decode_report(line):
                case Progress() as progress:
                    show(progress)
                case Opened() as opened:
                    show(Progress("dropping and coming back", 0, 1))
                case Started():
                    cpu.begin()
                case Stopped():
                    cpu.end()
                    rss_kib = resident_kib(relay.pid)
                case Returned() as returned:
                    return _Run(opened, cpu.share, rss_kib, returned)
                case Refused(reason=reason):
                    raise RunError(reason)
    raise RunError(ENDED_EARLY)
