"""The course of an open loop, from the first connection to the last inbox that is read."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic_ns
from typing import Final, TypeVar

from bench.history import Recorder
from bench.open_loop.arrivals import NS
from bench.open_loop.crowd import Crowd
from bench.open_loop.pace import pace
from bench.plan import Progress
from bench.process import LoadError, say

LATE_SECONDS: Final = 30.0
"""How far the generator may be behind when all is over."""

T = TypeVar("T")


async def course(
    crowd: Crowd, recorder: Recorder, load: Callable[[], Awaitable[T]]
) -> tuple[T, int]:
    """What `load` returns while all are connected, and how many inboxes could not be read then.

    Raises:
        LoadError: somebody cannot connect, or it takes too long.
    """
    total = len(crowd.persons)
    try:
        await crowd.come(lambda count: say(Progress("connecting", count, total)))
        loaded = await load()
        say(Progress("waiting for answers", 0, 1))
        await crowd.settle()
        say(Progress("reading everything back", 0, 1))
        unread = await crowd.read_back()
        recorder.close()
    finally:
        crowd.leave()
        recorder.cut_off()
    return loaded, unread


async def paced(
    at_ns: Sequence[int],
    warm_up_seconds: float,
    send: Callable[[int, int], None],
    measure: Callable[[int], Awaitable[T]],
) -> T:
    """Sends what is due when it is due; what `measure` returns, which is told when time began.

    Times count from the end of the warm-up: `at_ns` begins below zero.

    Raises:
        LoadError: the generator could not keep up.
    """
    gc.collect()
    gc.freeze()  # what exists now lives to the end; looking through it again would cost pauses
    began_ns = monotonic_ns() + int(warm_up_seconds * NS)
    pacing = asyncio.create_task(pace(at_ns, began_ns, send))
    try:
        measured = await measure(began_ns)
        async with asyncio.timeout(LATE_SECONDS):
            await pacing  # whatever was meant to be sent is sent
    except TimeoutError:
        raise LoadError("the load generator could not keep up with the rate") from None
    finally:
        pacing.cancel()
    return measured
