"""`kill -9` at moments that are drawn: nothing that was acked is lost, doubled or renumbered."""

from __future__ import annotations

import asyncio
from typing import Final

from bench.torture.fault import Fault
from bench.torture.scene import Scene

KILLS: Final = 8
ACKS_BETWEEN: Final = range(5, 120)
START_SECONDS: Final = 0.8
"""About as long as a start takes: a kill comes at some time of it, or soon after."""


async def at_random(scene: Scene) -> None:
    """`kill -9` under load, at some moment, and a start; again and again."""
    for _ in range(scene.times(KILLS)):
        await scene.crowd.acks(scene.chance.choice(ACKS_BETWEEN))
        await asyncio.sleep(scene.chance.uniform(0.0, 0.02))
        await scene.kill_and_start()


async def while_starting(scene: Scene) -> None:
    """`kill -9` under load, and `kill -9` again at some moment of the starts that follow."""
    for _ in range(scene.times(KILLS // 2)):
        await scene.crowd.acks(scene.chance.choice(ACKS_BETWEEN))
        await scene.kill()
        scene.relay.begin()
        await asyncio.sleep(scene.chance.uniform(0.0, START_SECONDS))
        await scene.kill_and_start()


FAULTS: Final = (
    Fault(name="kill", strike=at_random),
    Fault(name="kill-start", strike=while_starting),
)
