"""A process that stands still, and one that is told to end: in order, or at once."""

from __future__ import annotations

import asyncio
import signal
from typing import Final

from bench.torture.fault import Fault
from bench.torture.scene import Scene
from relay.exits import ExitCode

TIMES: Final = 4
STILL_SECONDS: Final = (1.0, 60.0)
"""The shortest and the longest; half of them take less than eight."""


async def stands_still(scene: Scene) -> None:
    """SIGSTOP for 1 to 60 seconds under load, then SIGCONT: it goes on as if nothing had been."""
    least, most = STILL_SECONDS
    await scene.crowd.acks(20)
    seconds = least if scene.is_hurried else least * (most / least) ** scene.chance.random()
    scene.relay.signal(signal.SIGSTOP)
    await asyncio.sleep(seconds)
    scene.relay.signal(signal.SIGCONT)
    scene.tally["stops"] += 1
    scene.notes.append(f"{seconds:.1f} s")
    await scene.crowd.acks(20)


async def told_to_end(scene: Scene) -> None:
    """SIGTERM under load: what was accepted is answered, the exit code is 0, no journal is left."""
    for _ in range(scene.times(TIMES)):
        await scene.crowd.acks(scene.chance.randrange(5, 60))
        scene.relay.signal(signal.SIGTERM)
        await scene.ends(ExitCode.OK)
        scene.require(not list(scene.relay.store.glob("journal-*")), "a journal is left")
        scene.tally["drains"] += 1
        await scene.relay.start()


async def told_to_end_twice(scene: Scene) -> None:
    """SIGTERM, and again at some moment of the drain: it ends on the spot, as if it were killed."""
    for _ in range(scene.times(TIMES)):
        await scene.crowd.acks(scene.chance.randrange(5, 60))
        scene.relay.signal(signal.SIGTERM)
        await asyncio.sleep(scene.chance.uniform(0.0, 0.1))
        scene.relay.signal(signal.SIGTERM)
        await scene.ends(ExitCode.OK, ExitCode.FAILED)
        scene.tally["drains cut off"] += 1
        await scene.relay.start()


FAULTS: Final = (
    Fault(name="stop", strike=stands_still),
    Fault(name="term", strike=told_to_end),
    Fault(name="term-twice", strike=told_to_end_twice),
)
