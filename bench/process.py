"""The life of a generator process: connect, warm up, measure, let everything come home, report.

It always ends by itself: every phase has a limit, and a load that fails ends the run at once.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from time import perf_counter, process_time
from typing import Final, Protocol, TypeVar

import uvloop
from msgspec import Struct

from bench.meter import Meter
from bench.plan import (
    Measured,
    Plan,
    Progress,
    Refused,
    Started,
    Stopped,
    decode_plan,
    encode,
)
from relay.system import lift_descriptor_limit

CONNECT_SECONDS: Final = 120.0
SETTLE_SECONDS: Final = 10.0
READ_BACK_SECONDS: Final = 600.0
PROGRESS_SECONDS: Final = 0.5


P = TypeVar("P")
T = TypeVar("T")


class LoadError(Exception):
    """The run cannot go on; the message is for the person who started it."""


class Load(Protocol):
    """Many connections in a closed loop against one server."""

    meter: Meter
    failure: asyncio.Future[None]
    """Gets a `LoadError` when the run cannot go on."""

    async def connect(self, connected: Callable[[int], None]) -> None:
        """Open every connection, telling how many are open by now."""

    def start(self) -> None:
        """Fill every window. From then on each ack sends the next, while `meter.is_sending`."""

    async def read_back(self) -> None:
        """Everything has settled: read once more what is stored, and end the recording."""

    def close(self) -> None:
        """Drop all connections."""


def run_process(load: Callable[[Plan], Load]) -> None:
    """Read one `Plan` from standard input, run it, report on standard output."""
    run_load(partial(_run, load), decode_plan(asked()))


def run_load(
    run: Callable[[P], Coroutine[object, object, None]], plan: P, *fails: type[Exception]
) -> None:
    """Run a plan to its end. A load that fails, also by one of these, is reported as refused."""
    failures: tuple[type[Exception], ...] = (LoadError, *fails)
    lift_descriptor_limit()
    with suppress(BrokenPipeError):  # whoever started this is gone
        try:
            uvloop.run(run(plan))
        except failures as error:
            say(Refused(str(error)))


async def _run(make_load: Callable[[Plan], Load], plan: Plan) -> None:
    load = make_load(plan)
    try:
        say(await unless_failed(_phases(load, plan), load.failure))
    finally:
        load.close()


async def unless_failed(work: Coroutine[object, object, T], failure: asyncio.Future[None]) -> T:
    """What the work returns; where the failure comes first, the work ends with it.

    Raises:
        LoadError: the failure, or the work's own.
    """
    working = asyncio.ensure_future(work)
    try:
        waited: set[asyncio.Future[T] | asyncio.Future[None]] = {working, failure}
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if failure.done():
            failure.result()
        return working.result()
    finally:
        working.cancel()
        with suppress(asyncio.CancelledError, LoadError):
            await working
        failure.cancel()


async def _phases(load: Load, plan: Plan) -> Measured:
    connections = len(plan.credentials)
    await _connect(load, connections)
    gc.collect()
    gc.freeze()  # what exists now lives to the end; looking through it again would cost pauses

    load.start()
    await asyncio.sleep(plan.warm_up_seconds)
    load.meter.begin()
    say(Started())
    began, cpu_began = perf_counter(), process_time()
    await _wait_in_steps(plan.seconds)
    seconds, cpu = perf_counter() - began, process_time() - cpu_began
    load.meter.end()
    say(Stopped())

    with suppress(TimeoutError):
        await asyncio.wait_for(load.meter.settled.wait(), SETTLE_SECONDS)
    measured = _measured(load, connections, seconds, cpu)
    await _read_back(load)
    return measured


async def _connect(load: Load, connections: int) -> None:
    def connected(count: int) -> None:
        if count % 100 == 0 or count == connections:
            say(Progress("connecting", count, connections))

    try:
        await asyncio.wait_for(load.connect(connected), CONNECT_SECONDS)
    except TimeoutError:
        raise LoadError(f"not connected within {CONNECT_SECONDS:.0f} seconds") from None


async def _read_back(load: Load) -> None:
    say(Progress("reading everything back", 0.0, 1.0))
    try:
        await asyncio.wait_for(load.read_back(), READ_BACK_SECONDS)
    except TimeoutError:
        raise LoadError(f"not read back within {READ_BACK_SECONDS:.0f} seconds") from None


async def _wait_in_steps(seconds: float) -> None:
    began = perf_counter()
    while (passed := perf_counter() - began) < seconds:
        say(Progress("measuring", passed, seconds))
        await asyncio.sleep(min(PROGRESS_SECONDS, seconds - passed))


def _measured(load: Load, connections: int, seconds: float, cpu: float) -> Measured:
    meter = load.meter
    return Measured(
        connections=connections,
        seconds=round(seconds, 3),
        acked_per_s=round(meter.acked / seconds, 1),
        delivered_per_s=round(meter.delivered / seconds, 1),
        ack_ms=meter.ack_latencies.percentiles(),
        delivery_ms=meter.delivery_latencies.percentiles(),
        unanswered=meter.unanswered,
        undelivered=meter.undelivered,
        rate_limited=meter.rate_limited,
        retried=meter.retried,
        generator_cpu=round(cpu / seconds, 3),
    )


def asked() -> bytes:
    """The line that says what to do, from whoever started this process.

    If that has ended before all of it was said, so does this process, without a word.
    """
    line = sys.stdin.buffer.readline()
    if not line.endswith(b"\n"):
        sys.exit(0)
    return line


def say(report: Struct) -> None:
    """Report to whoever started this process."""
    sys.stdout.buffer.write(encode(report) + b"\n")
    sys.stdout.buffer.flush()
