"""The ordering benchmark: load on a relay, recorded, and the history of it judged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

from msgspec import Struct

from bench.checker.check import Report, check
from bench.checker.order import Order
from bench.checker.reading import HistoryError
from bench.isolation.failpoints import FailpointError, Failpoints
from bench.latency import Percentiles
from bench.plan import Plan
from bench.relay_of_its_own import LIFTED, OwnRelay, relay_of_its_own
from bench.run import Run, RunError, judging_bar, run_generator
from storage.fault_orders import Action, Place
from storage.fault_orders import Order as FaultOrder

GENERATOR: Final = "bench.generator"


class Shape(NamedTuple):
    """N pairs, both sides sending, so many unacked sends of so many bytes each, for how long."""

    pairs: int
    in_flight: int
    size: int
    seconds: float
    warm_up_seconds: float
    sync_delay_ms: float = 0.0


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
    order: Order
    checker: Report
    unanswered: int
    undelivered: int
    rate_limited: int
    retried: int
    generator_cpu: float
    generator_bound: bool
    relay_cpu: float | None
    limits_lifted: tuple[str, ...]

    @property
    def is_good(self) -> bool:
        """Whether frames were examined, all came, and no promise was seen broken."""
        return self.checker.ok and self.order.checked > 0 and not self.undelivered


def measure_own_relay(shape: Shape, history: Path | None = None) -> OrderingReport:
    """Measure a relay started for this, its rate limits lifted.

    What the clients saw is written to `history`, or to a file that is removed once it is judged.

    Raises:
        StartError: it does not start.
        RunError: it cannot be measured.
    """
    with _history_at(history) as path:
        with relay_of_its_own(_users(shape)) as relay:
            plan = _plan(shape, relay.url, relay.tokens, path)
            run = run_generator(GENERATOR, plan, relay.pid, "relay")
        return _report(shape, run, path, tuple(LIFTED))


def load_own_relay(shape: Shape) -> Run:
    """Only the load: nothing is recorded, so the generator costs less, and nothing is judged.

    Raises:
        StartError: it does not start.
        RunError: it cannot be measured.
    """
    flags = ("--lab",) if shape.sync_delay_ms else ()
    with relay_of_its_own(_users(shape), flags=flags) as relay:
        if shape.sync_delay_ms:
            _sync_late(relay, shape.sync_delay_ms / 1_000)
        return run_generator(GENERATOR, _plan(shape, relay.url, relay.tokens), relay.pid, "relay")


def _sync_late(relay: OwnRelay, seconds: float) -> None:
    """From now on every transaction waits so long before it is committed."""
    order = FaultOrder(place=Place.BEFORE_COMMIT, action=Action.DELAY, seconds=seconds)
    try:
        Failpoints(relay.admin).order([order])
    except FailpointError as error:
        raise RunError(f"the relay cannot be made to sync late: {error}") from None


def measure_relay_at(
    url: str, tokens_file: Path, shape: Shape, history: Path | None = None
) -> OrderingReport:
    """Measure a relay that runs already, as it is configured.

    Raises:
        RunError: it cannot be measured, or the file holds too few tokens.
    """
    tokens = tokens_file.read_text().split()[: 2 * shape.pairs]
    if len(tokens) < 2 * shape.pairs:
        raise RunError(f"{shape.pairs} pairs need {2 * shape.pairs} tokens, one a line")
    with _history_at(history) as path:
        run = run_generator(GENERATOR, _plan(shape, url, tokens, path), None, "relay")
        return _report(shape, run, path, ())


@contextmanager
def _history_at(path: Path | None) -> Iterator[Path]:
    """Where the history goes; without a path of the person's, for as long as it is needed.

    Raises:
        RunError: it cannot be written there.
    """
    if path is None:
        with TemporaryDirectory(prefix="ksmp-history-") as name:
            yield Path(name) / "history"
        return
    try:
        path.touch()  # found out before the measurement, not after it
    except OSError as error:
        raise RunError(f"the history cannot be written: {error.strerror}") from None
    yield path.absolute()


def _users(shape: Shape) -> list[str]:
    return [f"bench-{number}" for number in range(2 * shape.pairs)]


def _plan(shape: Shape, url: str, tokens: Sequence[str], history: Path | None = None) -> Plan:
    return Plan(
        url,
        tuple(tokens),
        shape.in_flight,
        shape.size,
        shape.seconds,
        shape.warm_up_seconds,
        history="" if history is None else str(history),
        relay=relay_version(),
    )


def relay_version() -> str:
    """The version of the relay that is measured."""
    try:
        return metadata.version("ksmp-relay")
    except metadata.PackageNotFoundError:
        return "not installed"  # run from its source tree


def _report(
    shape: Shape, run: Run, history: Path, limits_lifted: tuple[str, ...]
) -> OrderingReport:
    try:
        with judging_bar() as show:
            checked = check(history, show)
    except (HistoryError, OSError) as error:
        raise RunError(f"the history cannot be judged: {error}") from None
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
        order=checked.order,
        checker=checked,
        unanswered=measured.unanswered,
        undelivered=measured.undelivered,
        rate_limited=measured.rate_limited,
        retried=measured.retried,
        generator_cpu=measured.generator_cpu,
        generator_bound=run.is_generator_bound,
        relay_cpu=run.server_cpu,
        limits_lifted=limits_lifted,
    )
