"""A disk that takes its time, or hangs: nobody is told too early, and who asks learns of it."""

from __future__ import annotations

import asyncio
from typing import Final

from bench.strace import Injection
from bench.torture.crowd import Load
from bench.torture.fault import Fault
from bench.torture.faults.calls import FOLDING, JOURNAL, TABLES, strace_lacks
from bench.torture.scene import Scene

DELAYS_MS: Final = (5, 20, 100, 1_000)
SLOW_SECONDS: Final = 3.0

STALLED_AFTER_SECONDS: Final = 0.5
HANG_SECONDS: Final = 4
LONG_HANG_SECONDS: Final = 15
LOOKED_SECONDS: Final = 30.0
TIMES: Final = 2
STALLED: Final = "sync_stalled"
US: Final = 1_000_000

FOLDING_AT_LEISURE: Final = Load(sends_per_second=120.0, bulk_bytes=65_536, bulk_share=0.6)
"""The journal's files fill up every other second, and not so soon that commits wait for a fold."""


def _delayed(scene: Scene, seconds: float, when: str, files: tuple[str, ...]) -> Injection:
    paths = [scene.relay.store / name for name in files]
    return Injection("fdatasync", f"delay_enter={round(seconds * US)}", when, paths)


async def slow(scene: Scene) -> None:
    """Each sync takes 5, 20, 100, 1,000 ms longer: acks come later, and that is all."""
    delays = DELAYS_MS[: scene.times(len(DELAYS_MS))]
    for delay_ms in delays:
        with scene.injected(_delayed(scene, delay_ms / 1_000, "1+", JOURNAL + TABLES)):
            await asyncio.sleep(SLOW_SECONDS)
            await scene.crowd.acks(5)
        scene.tally[f"{SLOW_SECONDS:.0f} s of syncs + {delay_ms} ms"] += 1


async def hanging(scene: Scene) -> None:
    """One sync of the journal hangs. `/readyz` says so, new sends are refused as `overloaded`.

    Half of the times it is killed while it hangs: whoever was waiting was told nothing. Else it
    goes on when the disk does, and all that was refused is taken.
    """
    for _ in range(scene.times(TIMES)):
        await scene.crowd.acks(20)
        with scene.injected(_delayed(scene, HANG_SECONDS, "1", JOURNAL)):
            await scene.relay.not_ready({STALLED}, LOOKED_SECONDS)
            await scene.crowd.refusal("overloaded", LOOKED_SECONDS)
            if scene.chance.random() < 0.5:
                await scene.kill_and_start()
                scene.tally["hangs, and killed"] += 1
            else:
                scene.tally["hangs"] += 1
                await scene.crowd.acks(20)
        await scene.relay.not_ready(set(), LOOKED_SECONDS)


async def hanging_fold(scene: Scene) -> None:
    """One sync of `data.mdb` hangs while the journal is moved into the tables: acks go on."""
    for _ in range(scene.times(TIMES)):
        with scene.injected(_delayed(scene, HANG_SECONDS, "1", TABLES)):
            await scene.crowd.acks(100, within_seconds=HANG_SECONDS * 5)
        scene.tally["hangs"] += 1
        await scene.crowd.acks(20)
    await scene.relay.not_ready(set(), LOOKED_SECONDS)


async def hanging_fold_under_load(scene: Scene) -> None:
    """The same under so much load that the journal is full before it ends: commits have to wait.

    As with a sync of the journal that hangs, `/readyz` says so, and new sends are `overloaded`.
    """
    for _ in range(scene.times(TIMES)):
        with scene.injected(_delayed(scene, LONG_HANG_SECONDS, "1", TABLES)):
            await scene.relay.not_ready({STALLED}, LOOKED_SECONDS)
            await scene.crowd.refusal("overloaded", LOOKED_SECONDS)
        scene.tally["hangs"] += 1
        await scene.relay.not_ready(set(), LOOKED_SECONDS)
        await scene.crowd.acks(20)


FAULTS: Final = (
    Fault(name="slow-sync", strike=slow, lacks=strace_lacks),
    Fault(
        name="hanging-sync",
        strike=hanging,
        lacks=strace_lacks,
        settings={"KSMP_STORE__SYNC_STALL_SECONDS": f"{STALLED_AFTER_SECONDS}"},
        refused=frozenset({"overloaded"}),
    ),
    Fault(
        name="hanging-fold-full",
        strike=hanging_fold_under_load,
        lacks=strace_lacks,
        settings={"KSMP_STORE__SYNC_STALL_SECONDS": f"{STALLED_AFTER_SECONDS}"},
        load=FOLDING,
        refused=frozenset({"overloaded"}),
    ),
    Fault(name="hanging-fold", strike=hanging_fold, lacks=strace_lacks, load=FOLDING_AT_LEISURE),
)
