"""The replay benchmark: a long inbox read by one client, and what the others notice of it.

The store is filled before the relay starts. Then pairs of other users write live at a fixed rate:
first alone, which is the baseline, then while one client resumes from 0 and reads every record.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

from msgspec import Struct

from bench.checker.check import Report
from bench.idle import resident_kib
from bench.judged import judged
from bench.ordering import load_own_relay, relay_version
from bench.plan import Progress, Refused, Started, encode
from bench.relay_of_its_own import OwnRelay, relay_of_its_own
from bench.replay_plan import (
    LiveMeasured,
    LivePlan,
    ReadPlan,
    Replayed,
    decode_live_report,
    decode_reader_report,
)
from bench.run import ENDED_EARLY, GENERATOR_BOUND, RunError, ServerCpu, generator, progress_bar
from bench.shape import Shape
from bench.wide_store import fill_store
from ksmp.types import ConversationId, UserId, conversation_key

READER: Final = "bench.replay_reader"
LIVE: Final = "bench.live"
OWNER, PEER = UserId("replay-owner"), UserId("replay-peer")

FLAT_SHARE: Final = 1.1
FLAT_KIB: Final = 4_096
"""Memory is flat where the last third of a replay has no more than so much over the first."""

RATIO_PAIRS = RATIO_IN_FLIGHT = 16


class ReplayShape(NamedTuple):
    """What is replayed, and the traffic beside it."""

    records: int
    size: int
    pairs: int
    rate_per_s: float
    baseline_seconds: float
    seed: int


class Memory(Struct, frozen=True):
    """Of the relay while it replays: medians over the first and the last third of the frames.

    `own` leaves out the pages of files: those of the store are the system's to take back.
    """

    own_first_kib: int
    own_last_kib: int
    resident_first_kib: int
    resident_last_kib: int
    readings: int

    @property
    def is_flat(self) -> bool:
        """Whether what the relay holds itself does not grow with what it has sent."""
        return self.own_last_kib <= self.own_first_kib * FLAT_SHARE + FLAT_KIB


class ReplayReport(Struct, frozen=True):
    """One run; as JSON this is what `--json` prints."""

    records: int
    size: int
    frames: int
    seconds: float
    frames_per_s: float
    bytes_per_s: float
    out_of_place: int
    ends_right: bool
    memory: Memory
    memory_flat: bool
    relay_cpu: float | None
    reader_cpu: float
    reader_bound: bool
    live: LiveMeasured
    checker: Report
    messages_per_s: float | None
    """Acked by 16 pairs × 16 in flight, where that was asked for."""
    ratio: float | None
    """Frames of the replay for each of those; none where a generator was the limit."""

    @property
    def is_good(self) -> bool:
        """Whether every record came once and in its place, and nobody else lost anything."""
        return (
            self.frames == self.records
            and not self.out_of_place
            and self.ends_right
            and self.checker.ok
            and not self.live.unanswered
        )


def measure_replay(shape: ReplayShape, *, ratio_seconds: float | None = None) -> ReplayReport:
    """Measure a relay started for this; with `ratio_seconds` also how much 16 × 16 is.

    Raises:
        StartError: it does not start.
        RunError: it cannot be measured.
    """
    chain = b""

    def prepare(data: Path) -> None:
        nonlocal chain
        key = conversation_key(ConversationId("replay"), OWNER, PEER)
        with progress_bar("replay") as show:
            chain = fill_store(
                data,
                [key],
                shape.records,
                text=bytes(shape.size),
                progress=lambda done: show(Progress("filling the store", done, shape.records)),
            )

    users = [OWNER, *(f"live-{number}" for number in range(2 * shape.pairs))]
    with TemporaryDirectory(prefix="ksmp-replay-") as name:
        with relay_of_its_own(users, prepare=prepare) as relay:
            run = _run(shape, relay, chain, Path(name))
        checked = judged(Path(name) / "history")
    return _report(shape, run, checked, ratio_seconds)


class _Run(NamedTuple):
    replayed: Replayed
    memory: Memory
    relay_cpu: float | None
    live: LiveMeasured


def _run(shape: ReplayShape, relay: OwnRelay, chain: bytes, directory: Path) -> _Run:
    owner, *live_tokens = relay.tokens
    until = directory / "until"
    plan = LivePlan(
        relay.url,
        tuple(live_tokens),
        shape.rate_per_s,
        shape.size,
        min(1.0, shape.baseline_seconds),
        shape.baseline_seconds,
        shape.seed,
        str(until),
        str(directory / "history"),
        relay_version(),
    )
    read: tuple[Replayed, Memory, float | None] | None = None
    with generator(LIVE, plan) as lines, progress_bar("live traffic") as show:
        for line in lines:
            match decode_live_report(line):
                case Progress() as progress:
                    show(progress)
                case Started():
                    read = _replayed(relay.pid, ReadPlan(relay.url, owner, shape.records, chain))
                    written = until.with_suffix(".new")
                    written.write_bytes(encode(read[0].span))
                    written.rename(until)  # whole, as soon as it can be seen
                case LiveMeasured() as live if read is not None:
                    return _Run(*read, live)
                case Refused(reason=reason):
                    raise RunError(reason)
                case LiveMeasured():
                    break
    raise RunError(ENDED_EARLY)


def _replayed(pid: int, plan: ReadPlan) -> tuple[Replayed, Memory, float | None]:
    """Read the inbox in a process of its own, and watch the relay meanwhile."""
    own: list[int] = []
    resident: list[int] = []
    cpu = ServerCpu(pid)
    cpu.begin()
    with generator(READER, plan) as lines, progress_bar("replay") as show:
        for line in lines:
            match decode_reader_report(line):
                case Progress() as progress:
                    show(progress)
                    own.append(resident_kib(pid, "RssAnon"))
                    resident.append(resident_kib(pid))
                case Replayed() as replayed:
                    cpu.end()
                    return replayed, _memory(own, resident), cpu.share
                case Refused(reason=reason):
                    raise RunError(reason)
    raise RunError(ENDED_EARLY)


def _memory(own: Sequence[int], resident: Sequence[int]) -> Memory:
    def thirds(readings: Sequence[int]) -> tuple[int, int]:
        third = max(1, len(readings) // 3)
        return round(statistics.median(readings[:third])), round(
            statistics.median(readings[-third:])
        )

    if not own:
        raise RunError("the replay held no frames")
    return Memory(*thirds(own), *thirds(resident), len(own))


def _report(
    shape: ReplayShape, run: _Run, checked: Report, ratio_seconds: float | None
) -> ReplayReport:
    replayed = run.replayed
    seconds = (replayed.span.ended_ns - replayed.span.began_ns) / 1e9
    frames_per_s = round(replayed.frames / seconds, 1)
    is_bound = replayed.generator_cpu > GENERATOR_BOUND
    messages_per_s = ratio = None
    if ratio_seconds is not None:
        beside = load_own_relay(
            Shape(RATIO_PAIRS, RATIO_IN_FLIGHT, shape.size, ratio_seconds, ratio_seconds / 4)
        )
        messages_per_s = beside.measured.acked_per_s
        if not (is_bound or beside.is_generator_bound) and messages_per_s:
            ratio = round(frames_per_s / messages_per_s, 2)
    return ReplayReport(
        records=shape.records,
        size=shape.size,
        frames=replayed.frames,
        seconds=round(seconds, 3),
        frames_per_s=frames_per_s,
        bytes_per_s=round(replayed.frame_bytes / seconds, 1),
        out_of_place=replayed.out_of_place,
        ends_right=replayed.ends_right,
        memory=run.memory,
        memory_flat=run.memory.is_flat,
        relay_cpu=run.relay_cpu,
        reader_cpu=replayed.generator_cpu,
        reader_bound=is_bound,
        live=run.live,
        checker=checked,
        messages_per_s=messages_per_s,
        ratio=ratio,
    )
