"""The growth benchmark: what a message costs, and a start, as the store grows.

For each size a store is filled, and a relay started on it; then the same few pairs write to
conversations drawn from all there are.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

from msgspec import Struct

from bench.checker.check import Report
from bench.growth_load import conversation_name
from bench.idle import resident_kib
from bench.judged import judged
from bench.latency import Percentiles
from bench.ordering import relay_version
from bench.plan import Plan, Progress
from bench.relay_of_its_own import Admin, OwnRelay, relay_of_its_own, tokens_of
from bench.run import Run, RunError, progress_bar, run_generator
from bench.wide_store import fill_store
from ksmp.types import ConversationKey, UserId, conversation_key

GENERATOR: Final = "bench.growth_load"
PAIRS: Final = 16
IN_FLIGHT: Final = 16
READY_SECONDS: Final = 60.0
POLL_SECONDS: Final = 0.005


class GrowthShape(NamedTuple):
    """The sizes of stores, and the load on each."""

    conversations: Sequence[int]
    records: Sequence[int]
    size: int
    seconds: float

    @property
    def cells(self) -> list[tuple[int, int]]:
        """Conversations and records, smallest first; each conversation has a record at least."""
        return [
            (conversations, records)
            for records in sorted(self.records)
            for conversations in sorted(self.conversations)
            if records >= conversations
        ]


class Cell(Struct, frozen=True):
    """A store of one size."""

    conversations: int
    records: int
    pairs: int
    start_seconds: float
    """From the start of the process until `/readyz` says 200."""

    rss_started_kib: int
    rss_loaded_kib: int
    own_loaded_kib: int
    """Of that, what is not pages of files."""

    acked_per_s: float
    ack_ms: Percentiles
    wall_us_per_message: float
    cpu_us_per_message: float | None
    """Of the relay, all its threads."""

    wall_ratio: float | None
    """To the first cell; none where the generator was the limit of either."""

    cpu_ratio: float | None
    generator_cpu: float
    generator_bound: bool
    undelivered: int
    checker: Report

    @property
    def is_good(self) -> bool:
        """Whether every message came to the other side, and no promise was seen broken."""
        return self.checker.ok and not self.undelivered


class GrowthReport(Struct, frozen=True):
    """All sizes; as JSON this is what `--json` prints."""

    in_flight: int
    size: int
    seconds: float
    cells: tuple[Cell, ...]

    @property
    def is_good(self) -> bool:
        """Whether there was one, and all were good."""
        return bool(self.cells) and all(cell.is_good for cell in self.cells)


def measure_growth(shape: GrowthShape) -> GrowthReport:
    """Measure a relay of its own at every size, one after the other.

    Raises:
        StartError: one does not start.
        RunError: one cannot be measured, or no store has a record for each conversation.
    """
    if not shape.cells:
        raise RunError("there are fewer records than conversations: no store can be like that")
    cells: list[Cell] = []
    for conversations, records in shape.cells:
        cells.append(_cell(shape, conversations, records, cells[0] if cells else None))
    return GrowthReport(IN_FLIGHT, shape.size, shape.seconds, tuple(cells))


def growth_keys(conversations: int, pairs: int = PAIRS) -> list[ConversationKey]:
    """All conversations: number n is of pair n, counted around."""
    users = _users(pairs)
    return [
        conversation_key(
            conversation_name(number), users[2 * (number % pairs)], users[2 * (number % pairs) + 1]
        )
        for number in range(conversations)
    ]


def _users(pairs: int) -> list[UserId]:
    return [UserId(f"growth-{number}") for number in range(2 * pairs)]


def _cell(shape: GrowthShape, conversations: int, records: int, first: Cell | None) -> Cell:
    pairs = min(PAIRS, conversations)
    title = f"{conversations:,} conversations, {records:,} records"
    began = 0.0

    def prepare(data: Path) -> None:
        nonlocal began
        with progress_bar(title) as show:
            fill_store(
                data,
                growth_keys(conversations, pairs),
                records,
                text=bytes(shape.size),
                progress=lambda done: show(Progress("filling the store", done, records)),
            )
        began = time.monotonic()

    with TemporaryDirectory(prefix="ksmp-growth-") as name:
        history = Path(name) / "history"
        with relay_of_its_own((), prepare=prepare) as relay:
            _await_ready(relay.admin)
            start_seconds = time.monotonic() - began
            started_kib = resident_kib(relay.pid)
            plan = _plan(shape, relay, conversations, pairs, history)
            run = run_generator(GENERATOR, plan, relay.pid, title)
            loaded = resident_kib(relay.pid), resident_kib(relay.pid, "RssAnon")
        checked = judged(history)
    memory = (started_kib, *loaded)
    return _told((conversations, records), start_seconds, memory, run, checked, first)


def _plan(
    shape: GrowthShape, relay: OwnRelay, conversations: int, pairs: int, history: Path
) -> Plan:
    return Plan(
        relay.url,
        tuple(tokens_of(relay.data, _users(pairs))),
        IN_FLIGHT,
        shape.size,
        shape.seconds,
        shape.seconds / 4,
        history=str(history),
        relay=relay_version(),
        conversations=conversations,
    )


def _await_ready(admin: Admin) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        connection = HTTPConnection(admin.host, admin.port, timeout=READY_SECONDS)
        try:
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                return
        except (OSError, HTTPException):
            pass  # it does not listen yet
        finally:
            connection.close()
        time.sleep(POLL_SECONDS)
    raise RunError(f"the relay was not ready within {READY_SECONDS:.0f} seconds")


def _told(
    size: tuple[int, int],
    start_seconds: float,
    memory: tuple[int, int, int],
    run: Run,
    checked: Report,
    first: Cell | None,
) -> Cell:
    measured, acked_per_s = run.measured, run.measured.acked_per_s
    if not acked_per_s:
        raise RunError("not one message was acked while it was measured")
    wall = 1e6 / acked_per_s
    cpu = None if run.server_cpu is None else run.server_cpu * wall
    is_bound = run.is_generator_bound
    no_ratio = is_bound or (first is not None and first.generator_bound)
    first_wall = wall if first is None else first.wall_us_per_message
    first_cpu = cpu if first is None else first.cpu_us_per_message
    return Cell(
        conversations=size[0],
        records=size[1],
        pairs=measured.connections // 2,
        start_seconds=round(start_seconds, 3),
        rss_started_kib=memory[0],
        rss_loaded_kib=memory[1],
        own_loaded_kib=memory[2],
        acked_per_s=acked_per_s,
        ack_ms=measured.ack_ms,
        wall_us_per_message=round(wall, 1),
        cpu_us_per_message=None if cpu is None else round(cpu, 1),
        wall_ratio=None if no_ratio else round(wall / first_wall, 2),
        cpu_ratio=None if no_ratio or not cpu or not first_cpu else round(cpu / first_cpu, 2),
        generator_cpu=measured.generator_cpu,
        generator_bound=is_bound,
        undelivered=measured.undelivered,
        checker=checked,
    )
