"""One round: a fault on a relay of its own, and the verdict on what everybody has seen.

the store is new, or a copy of one with very many records
clients connect, write and read                                bench/torture/crowd.py
the fault strikes, once or many times over                     bench/torture/faults
the relay is started, if it does not run; somebody is acked soon
nobody writes any more; everything is acked and delivered
SIGTERM, and a start; every inbox is read once more
the checker judges the history, `verify` the store, and both count the same records
"""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path
from random import Random
from typing import Final

from msgspec import Struct

from bench.checker.check import Report, check
from bench.checker.printing import excerpt_lines
from bench.checker.reading import HistoryError
from bench.history import Recorder
from bench.ordering import relay_version
from bench.torture.crowd import TorturedCrowd, users_of
from bench.torture.errors import BrokenError, NotPossibleError
from bench.torture.fault import Fault
from bench.torture.processes import verified
from bench.torture.relay import Start, TorturedRelay
from bench.torture.scene import Scene
from bench.torture.stock import take_stock

HISTORY: Final = "history"
JSON_LOG: Final = {"KSMP_LOG__FORMAT": "json"}
BUGS: Final = re.compile(r'"event":"bug"|Traceback')

BEFORE: Final = 30
"""Acks before the fault strikes."""

AFTER: Final = 30
"""Acks when it is over, of what was written then or before."""

RECOVERY_SECONDS: Final = 30.0
STOCK_SECONDS: Final = 600.0
"""Longer that a round may take which begins with very many records: all of them are verified."""


class Played(Struct, frozen=True):
    """What became of a round; as JSON a line of `--json`."""

    fault: str
    seed: int
    number: int
    seconds: float
    failure: str | None
    """What was broken; None where nothing was."""

    skipped: str | None
    """What is missing here for this fault."""

    done: dict[str, int]
    """What was done, and how often: `kills` …"""

    notes: tuple[str, ...]
    records: int
    """In the store at the end, those it began with included."""

    acks: int
    """Examined by the checker: each is in the final read."""

    examined: dict[str, int]
    """By promise, how often the history put it to the test."""

    starts: tuple[Start, ...]
    recovered_seconds: float | None
    """From the end of the fault until somebody was acked."""


class _Course:
    """What is known of a round while it goes on, and however it ends."""

    def __init__(self) -> None:
        self.scene: Scene | None = None
        self.starts: list[Start] = []
        self.records = 0
        self.recovered_seconds: float | None = None
        self.report: Report | None = None


async def play(
    fault: Fault,
    seed: int,
    number: int,
    directory: Path,
    *,
    stock: Path | None = None,
    strikes: int | None = None,
) -> Played:
    """Play one; its directory, which is empty, gets the evidence. What goes wrong is in the result.

    `stock` is a data directory with very many records, of which the round gets a copy. The fault
    strikes `strikes` times, or as often as it does by itself.
    """
    began = time.monotonic()
    course = _Course()
    failure: str | None = None
    skipped = fault.lacks()
    limit_seconds = fault.limit_seconds + (0.0 if stock is None else STOCK_SECONDS)
    if skipped is None:
        try:
            async with asyncio.timeout(limit_seconds):
                await _play(fault, seed, number, directory, stock, strikes, course)
        except NotPossibleError as error:
            skipped = str(error)
        except BrokenError as error:
            failure = f"{error}"
        except TimeoutError:
            failure = f"not over after {limit_seconds:.0f} s"
        except Exception as error:  # noqa: BLE001 - whatever it is, the round's seed is told with it
            failure = f"{type(error).__name__}: {error}"
        if failure is not None and course.report is None:
            failure += _seen_until_then(directory / HISTORY)
    scene, report = course.scene, course.report
    return Played(
        fault=fault.name,
        seed=seed,
        number=number,
        seconds=round(time.monotonic() - began, 1),
        failure=failure,
        skipped=skipped,
        done={} if scene is None else dict(scene.tally),
        notes=() if scene is None else tuple(scene.notes),
        records=course.records,
        acks=0 if report is None else _examined(report).get("I1", 0),
        examined={} if report is None else _examined(report),
        starts=tuple(course.starts),
        recovered_seconds=course.recovered_seconds,
    )


async def _play(
    fault: Fault,
    seed: int,
    number: int,
    directory: Path,
    stock: Path | None,
    strikes: int | None,
    course: _Course,
) -> None:
    chance = Random(f"{seed} {fault.name} {number}")
    history = directory / HISTORY
    with fault.place(directory) as data:
        stocked = 0 if stock is None else take_stock(stock, data)
        with Recorder(history, relay=relay_version(), seed=seed) as recorder:
            relay = TorturedRelay(
                directory,
                {**JSON_LOG, **fault.settings},
                recorder,
                program=fault.program(directory),
                data=data,
                records=stocked,
                chance=chance,
            )
            course.starts = relay.starts
            with relay:
                await relay.start()
                tokens = relay.tokens(users_of(fault.load))
                crowd = TorturedCrowd(
                    fault.load, recorder, relay.url, tokens, chance, refused=fault.refused
                )
                course.scene = Scene(relay, crowd, chance, number, directory, strikes)
                try:
                    await _live_through(fault, course.scene, course)
                finally:
                    crowd.leave()
        course.records = await _verify(relay, stocked + crowd.records)
    course.report = check(history)
    _judge(course.report, relay, fault)


async def _live_through(fault: Fault, scene: Scene, course: _Course) -> None:
    relay, crowd = scene.relay, scene.crowd
    await crowd.begin()
    await crowd.acks(BEFORE)
    await fault.strike(scene)
    if not relay.is_running:
        await relay.start()
    healed = time.monotonic()
    await crowd.acks(1, RECOVERY_SECONDS)
    course.recovered_seconds = round(time.monotonic() - healed, 3)
    await crowd.acks(AFTER)
    await crowd.settled()
    await relay.stop()
    await relay.start()
    if unread := await crowd.read_back():
        raise BrokenError(f"{unread} inboxes cannot be read in the end")
    await relay.stop()


async def _verify(relay: TorturedRelay, records: int) -> int:
    """How many records there are.

    Raises:
        BrokenError: it is not in order, or has not as many as everybody has read.
    """
    verification = await verified(relay.data)
    if not verification.ok:
        raise BrokenError(f"verify: {'; '.join(verification.problems[:5])}")
    if verification.records != records:
        raise BrokenError(f"{verification.records} records are stored, {records} were read")
    return records


def _judge(report: Report, relay: TorturedRelay, fault: Fault) -> None:
    """All that was seen.

    Raises:
        BrokenError: some of it must not be.
    """
    if not report.ok:
        raise BrokenError(_broken(report) or "the checker has examined nothing")
    if not fault.may_complain and (bug := BUGS.search(relay.logged)):
        raise BrokenError(f"the log has {bug[0]!r}")


def _broken(report: Report) -> str:
    """Every promise that was seen broken, with what shows it."""
    broken = [one for one in report.verdicts if one.violations]
    return "".join(f"\n    {line}" for one in broken for line in excerpt_lines(one))


def _seen_until_then(history: Path) -> str:
    """The same of a round that did not come to its end."""
    try:
        return _broken(check(history))
    except (HistoryError, OSError):
        return ""


def _examined(report: Report) -> dict[str, int]:
    return {one.invariant: one.examined for one in report.verdicts}
