"""What a campaign comes to: how often, what was done and checked, what was broken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from msgspec import Struct
from rich.console import Console
from rich.table import Table

from bench.torture.round import Played

MANY_RECORDS: Final = 1_000_000
START_SECONDS: Final = 2.0
"""How long a start may take, where the store has that many."""


class FaultSum(Struct, frozen=True):
    """Of one fault."""

    fault: str
    rounds: int
    """Those that were played to their end, or to where something was broken."""

    failed: int
    skipped: str | None
    """Why it was not played."""

    kills: int
    acks: int
    """That the checker has held against the final read."""

    done: dict[str, int]
    """Whatever else was counted."""

    starts: int
    slowest_start_seconds: float | None
    slowest_recovery_seconds: float | None


class LargeStarts(Struct, frozen=True):
    """On a store with very many records."""

    records: int
    starts: int
    median_seconds: float
    slowest_seconds: float
    too_slow: int
    """Those that took longer than they may."""


class Summary(Struct, frozen=True):
    """As JSON this is what `--json` prints."""

    seed: int
    seconds: float
    ok: bool
    rounds: int
    kills: int
    acks: int
    examined: dict[str, int]
    """By promise."""

    faults: tuple[FaultSum, ...]
    large_starts: LargeStarts | None
    failures: tuple[str, ...]
    """A command for each round that was broken, which plays it again."""

    played: tuple[Played, ...]


def summed_up(
    seed: int, seconds: float, played: Sequence[Played], failures: Sequence[str]
) -> Summary:
    """All of them together."""
    names = list(dict.fromkeys(one.fault for one in played))
    sums = tuple(_sum(name, [one for one in played if one.fault == name]) for name in sorted(names))
    examined = sum((Counter(one.examined) for one in played), Counter[str]())
    return Summary(
        seed=seed,
        seconds=round(seconds, 1),
        ok=not failures,
        rounds=sum(one.rounds for one in sums),
        kills=sum(one.kills for one in sums),
        acks=sum(one.acks for one in sums),
        examined=dict(examined),
        faults=sums,
        large_starts=_large_starts(played),
        failures=tuple(failures),
        played=tuple(played),
    )


def _sum(fault: str, played: Sequence[Played]) -> FaultSum:
    done = sum((Counter(one.done) for one in played), Counter[str]())
    starts = [start.seconds for one in played for start in one.starts]
    recovered = [one.recovered_seconds for one in played if one.recovered_seconds is not None]
    return FaultSum(
        fault=fault,
        rounds=sum(one.skipped is None for one in played),
        failed=sum(one.failure is not None for one in played),
        skipped=next((one.skipped for one in played if one.skipped is not None), None),
        kills=done.pop("kills", 0),
        acks=sum(one.acks for one in played),
        done=dict(done.most_common()),
        starts=len(starts),
        slowest_start_seconds=round(max(starts), 2) if starts else None,
        slowest_recovery_seconds=max(recovered) if recovered else None,
    )


def _large_starts(played: Iterable[Played]) -> LargeStarts | None:
    starts = [start for one in played for start in one.starts if start.records]
    if not starts:
        return None
    seconds = sorted(start.seconds for start in starts)
    return LargeStarts(
        records=max(start.records for start in starts),
        starts=len(seconds),
        median_seconds=round(seconds[len(seconds) // 2], 2),
        slowest_seconds=round(seconds[-1], 2),
        too_slow=sum(one > START_SECONDS for one in seconds),
    )


# ── for people ───────────────────────────────────────────────────────────────────────────────


def line_of(played: Played) -> str:
    """One round in a line."""
    head = f"{played.fault:<16} {played.number:>4} {played.seconds:>6.1f} s  "
    if played.skipped is not None:
        return f"{head}skipped: {played.skipped}"
    if played.failure is not None:
        return f"{head}BROKEN: {played.failure}"
    done = [f"{times} {what}" for what, times in played.done.items()]
    told = [*done, *played.notes, f"{played.acks:,} acks checked", *_starts(played)]
    return f"{head}ok: {', '.join(told)}"


def _starts(played: Played) -> Iterator[str]:
    if played.starts:
        slowest = max(played.starts)
        of = f" of {slowest.records:,} records" if slowest.records else ""
        yield f"starts ≤ {slowest.seconds:.2f} s{of}"


def print_summary(summary: Summary) -> None:
    """On standard output."""
    table = Table(
        "fault", "rounds", "broken", "kills", "acks checked", "slowest start", "what else"
    )
    for column in table.columns[1:6]:
        column.justify = "right"
    for one in summary.faults:
        if one.skipped is not None and not one.rounds:
            table.add_row(one.fault, "–", "", "", "", "", f"skipped: {one.skipped}")
            continue
        start = "" if one.slowest_start_seconds is None else f"{one.slowest_start_seconds:.2f} s"
        done = ", ".join(f"{what}: {times}" for what, times in one.done.items())
        counts = (f"{one.rounds}", f"{one.failed}", f"{one.kills}", f"{one.acks:,}")
        table.add_row(one.fault, *counts, start, done)
    console = Console(highlight=False, markup=False)
    console.print(table)
    for line in _remarks(summary):
        console.print(line, soft_wrap=True)


def _remarks(summary: Summary) -> Iterator[str]:
    examined = ", ".join(f"{name} {times:,}" for name, times in summary.examined.items() if times)
    yield f"Promises put to the test: {examined or 'none'}."
    large = summary.large_starts
    if large is not None:
        yield (
            f"Starts on {large.records:,} records: {large.starts}, in the median"
            f" {large.median_seconds:.2f} s, the slowest {large.slowest_seconds:.2f} s,"
            f" {large.too_slow} took longer than {START_SECONDS:.0f} s."
        )
    broken = f"{len(summary.failures)} broken" if summary.failures else "none broken"
    yield (
        f"Seed {summary.seed}: {summary.rounds} rounds in {summary.seconds / 60:.1f} minutes,"
        f" {summary.kills} kills, {summary.acks:,} acks checked, {broken}."
    )
    for command in summary.failures:
        yield f"Again: {command}"
