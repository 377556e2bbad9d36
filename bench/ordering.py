"""The ordering benchmark: load on a relay, recorded, and the history of it judged."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from msgspec import Struct

from bench.checker.check import Report
from bench.checker.order import Order
from bench.judged import judged
from bench.latency import Percentiles
from bench.metrics import commits_of
from bench.plan import CodecName, ShapeName
from bench.run import Run, RunError, run_generator
from bench.shape import Shape, lifted_for, relay_for
from bench.tokens_file import tokens_in

GENERATOR: Final = "bench.generator"


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
    shape: ShapeName = "pairs"
    codec: CodecName = "msgpack"
    sync_delay_ms: float = 0.0
    conversations: int | None = None
    """Only in `zipf`: over how many the sends were spread, and the seed of the draws."""
    seed: int | None = None
    messages_per_commit: float | None = None
    """From the relay's start to its end; null of a relay that is not our own."""

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
        with relay_for(shape) as (relay, tokens):
            plan = shape.plan(relay.url, tokens, history=str(path), relay=relay_version())
            run = run_generator(GENERATOR, plan, relay.pid, "relay")
            commits = commits_of(relay.admin)
        return _report(shape, run, path, tuple(lifted_for(shape)), commits)


def load_own_relay(shape: Shape) -> Run:
    """Only the load: nothing is recorded, so the generator costs less, and nothing is judged.

    Raises:
        StartError: it does not start.
        RunError: it cannot be measured.
    """
    with relay_for(shape) as (relay, tokens):
        plan = shape.plan(relay.url, tokens, relay=relay_version())
        return run_generator(GENERATOR, plan, relay.pid, "relay")


def measure_relay_at(
    url: str, tokens_file: Path, shape: Shape, history: Path | None = None
) -> OrderingReport:
    """Measure a relay that runs already, as it is configured.

    Raises:
        RunError: it cannot be measured, or the file holds too few tokens.
    """
    tokens = tokens_in(tokens_file, shape.connections, shape.pairs)
    with _history_at(history) as path:
        plan = shape.plan(url, tokens, history=str(path), relay=relay_version())
        run = run_generator(GENERATOR, plan, None, "relay")
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


def relay_version() -> str:
    """The version of the relay that is measured."""
    try:
        return metadata.version("ksmp-relay")
    except metadata.PackageNotFoundError:
        return "not installed"  # run from its source tree


def _report(
    shape: Shape, run: Run, history: Path, limits_lifted: tuple[str, ...], commits: int = 0
) -> OrderingReport:
    checked = judged(history)
    measured = run.measured
    stored = checked.sends - measured.rate_limited - measured.retried
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
        shape=shape.kind,
        codec=shape.codec,
        sync_delay_ms=shape.sync_delay_ms,
        conversations=shape.conversations if shape.kind == "zipf" else None,
        seed=shape.seed if shape.kind == "zipf" else None,
        messages_per_commit=round(stored / commits, 2) if commits else None,
    )
