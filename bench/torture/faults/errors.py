"""A disk that answers with an error: the relay ends, and nobody was told what is not so."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from typing import Final

from bench.strace import Injection
from bench.torture.fault import Fault
from bench.torture.faults.calls import (
    ALL_FILES,
    FOLDING,
    JOURNAL,
    TABLES,
    Place,
    injection,
    places,
    strace_lacks,
    walked,
)
from bench.torture.processes import true_within
from bench.torture.scene import NOT_REACHED, Scene
from relay.exits import ExitCode

EIO: Final = "error=EIO"
PATIENCE_SECONDS: Final = 15.0
ON_AND_ON: Final = 3
"""Starts that are tried while the disk goes on failing."""

COMMIT: Final = places(pwrite64=6, fdatasync=6, fsync=2)
FOLD: Final = places(writev=16, pwrite64=32, fdatasync=16, fallocate=1)
OPENING: Final = places(openat=9, fsync=5, pwrite64=3, ftruncate=2, writev=1, fdatasync=2, flock=1)

CLOSING: Final = places(writev=8, pwrite64=16, fdatasync=8, unlink=2)

HAS_FAILED: Final = (ExitCode.IO,)
REFUSED: Final = (ExitCode.IO, ExitCode.CANNOT_CREATE)


async def once_at_a_commit(scene: Scene) -> None:
    """One write or sync of the journal fails. The process ends with 74, and a start goes on.

    What was under way is `outcome_unknown`, whether it is there or not; nothing else is in doubt.
    """
    await _at_each(scene, COMMIT, JOURNAL, is_over=True)


async def for_ever_at_a_commit(scene: Scene) -> None:
    """From one write or sync on, each of that kind fails, over starts too, until it is mended."""
    await _at_each(scene, COMMIT, JOURNAL, is_over=False)


async def once_at_a_fold(scene: Scene) -> None:
    """One write or sync of `data.mdb` fails, of a page of data or of a meta page; as above."""
    await _at_each(scene, FOLD, TABLES, is_over=True)


async def for_ever_at_a_fold(scene: Scene) -> None:
    """From one write or sync of `data.mdb` on, each of that kind fails until it is mended."""
    await _at_each(scene, FOLD, TABLES, is_over=False)


async def _at_each(
    scene: Scene, all_places: Sequence[Place], files: Sequence[str], *, is_over: bool
) -> None:
    relay = scene.relay
    for place in walked(scene, all_places):
        await scene.crowd.acks(scene.chance.randrange(1, 40))
        what = injection(scene, place, EIO, files)
        if not is_over:
            what = what._replace(when=f"{place.nth}+")
        with scene.injected(what):
            has_ended = await true_within(PATIENCE_SECONDS, lambda: not relay.is_running)
        if not has_ended:
            scene.tally[NOT_REACHED] += 1
            continue
        await scene.ends(*HAS_FAILED)
        scene.tally["ends"] += 1
        scene.note_hit(what)
        if not is_over:
            await _start_in_vain(scene, what)
        await relay.start()


async def _start_in_vain(scene: Scene, what: Injection) -> None:
    """It is started while the disk still fails; it may refuse, or end when it comes to that."""
    relay = scene.relay
    for _ in range(ON_AND_ON):
        failing = what._replace(when="1+")
        if await relay.start(scene.in_front(failing), exit_codes=REFUSED):
            if await true_within(PATIENCE_SECONDS / 3, lambda: not relay.is_running):
                await scene.ends(*HAS_FAILED)
            else:
                await scene.kill()
        scene.tally["starts on a failing disk"] += 1


async def opening(scene: Scene) -> None:
    """One call of a start on the store's files fails. It refuses, and says why; or it goes on.

    The store is as it was, so the next start finds everything.
    """
    relay = scene.relay
    for place in walked(scene, OPENING):
        await scene.crowd.acks(scene.chance.randrange(1, 40))
        await scene.kill()
        what = injection(scene, place, EIO, ALL_FILES)
        if await relay.start(scene.in_front(what), exit_codes=REFUSED):
            # Not come to, or a call whose failure matters to nobody; or it is a commit that fails.
            if await true_within(1.0, lambda: not relay.is_running):
                await scene.ends(*HAS_FAILED)
                scene.tally["ends"] += 1
            else:
                await scene.kill()
        else:
            scene.tally["refusals to start"] += 1
        scene.note_hit(what, NOT_REACHED)
        await relay.start()


async def closing(scene: Scene) -> None:
    """SIGTERM, and one call fails while everything is moved into the tables: 74, or nothing lacks.

    The journal keeps what the tables have not, as after a crash.
    """
    relay = scene.relay
    for place in walked(scene, CLOSING):
        await scene.crowd.acks(scene.chance.randrange(1, 40))
        what = injection(scene, place, EIO, ALL_FILES)
        with scene.injected(what):
            relay.signal(signal.SIGTERM)
            await scene.ends(ExitCode.OK, *HAS_FAILED)
        scene.tally["ends"] += 1
        scene.note_hit(what, NOT_REACHED)
        await relay.start()


FAULTS: Final = (
    Fault(name="eio-commit", strike=once_at_a_commit, lacks=strace_lacks),
    Fault(name="eio-commit-ever", strike=for_ever_at_a_commit, lacks=strace_lacks),
    Fault(name="eio-fold", strike=once_at_a_fold, lacks=strace_lacks, load=FOLDING),
    Fault(name="eio-fold-ever", strike=for_ever_at_a_fold, lacks=strace_lacks, load=FOLDING),
    Fault(name="eio-closing", strike=closing, lacks=strace_lacks),
    Fault(name="eio-opening", strike=opening, lacks=strace_lacks),
)
