"""`kill -9` at each system call of a commit, of a fold, of an opening, of an answer."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from typing import Final

from bench.torture.fault import Fault
from bench.torture.faults.calls import (
    ALL_FILES,
    ANSWER,
    CLOSING,
    COMMIT,
    FOLD,
    FOLDING,
    JOURNAL,
    OPENING,
    TABLES,
    Place,
    injection,
    strace_lacks,
    walked,
)
from bench.torture.processes import KILLED, in_words, true_within
from bench.torture.scene import NOT_REACHED, Scene
from relay.exits import ExitCode

KILL: Final = "signal=KILL"
STOPPED_SHARE: Final = 0.4
PATIENCE_SECONDS: Final = 15.0
"""For a place to be come to. Some are not: a fold may write less than another."""


async def commit(scene: Scene) -> None:
    """`kill -9` at each call on the journal's files, under load.

    A commit that was not synced may be lost; nothing else may, and nobody was told that it is
    stored.
    """
    await _at_each(scene, COMMIT, JOURNAL)


async def fold(scene: Scene) -> None:
    """`kill -9` at each call on `data.mdb`, while the journal is being moved into the tables."""
    await _at_each(scene, FOLD, TABLES)


async def answer(scene: Scene) -> None:
    """`kill -9` at each call on a socket: what is stored and not answered is known when asked."""
    await _at_each(scene, ANSWER, ())


async def _at_each(scene: Scene, places: Sequence[Place], files: Sequence[str]) -> None:
    relay = scene.relay
    for place in walked(scene, places):
        await scene.crowd.acks(scene.chance.randrange(1, 40))
        what = injection(scene, place, KILL, files)
        with scene.injected(what):
            has_ended = await true_within(PATIENCE_SECONDS, lambda: not relay.is_running)
        if has_ended:
            await _died(scene)
            scene.note_hit(what)
            await relay.start()
        else:
            scene.tally[NOT_REACHED] += 1


async def opening(scene: Scene) -> None:
    """`kill -9` or SIGTERM, then `kill -9` at each call of the start on any of the store's files.

    The start after that finds what the interrupted one has left, and is not told that there was
    one.
    """
    relay = scene.relay
    for place in walked(scene, OPENING):
        await scene.crowd.acks(scene.chance.randrange(1, 40))
        if scene.chance.random() < STOPPED_SHARE:
            await relay.stop()
        else:
            await scene.kill()
        what = injection(scene, place, KILL, ALL_FILES)
        if await relay.start(scene.in_front(what), exit_codes=(KILLED,)):
            # Past the last call of its kind, or to be hit by a commit.
            if await true_within(1.0, lambda: not relay.is_running):
                await _died(scene)
                scene.note_hit(what)
            else:
                scene.tally[NOT_REACHED] += 1
                await scene.kill()
        else:
            scene.tally["kills"] += 1
            scene.note_hit(what)
        await relay.start()


async def closing(scene: Scene) -> None:
    """SIGTERM under load, then `kill -9` at each call on the store's files, to the last unlink."""
    relay = scene.relay
    for place in walked(scene, CLOSING):
        await scene.crowd.acks(scene.chance.randrange(1, 40))
        what = injection(scene, place, KILL, ALL_FILES)
        with scene.injected(what):
            relay.signal(signal.SIGTERM)
            code = await relay.ended()
        scene.require(code in (KILLED, ExitCode.OK), f"it ended {in_words(code)}")
        if code == KILLED:
            scene.tally["kills"] += 1
            scene.note_hit(what)
        else:
            scene.tally[NOT_REACHED] += 1
        await relay.start()


async def _died(scene: Scene) -> None:
    """It was killed, and did not end otherwise."""
    await scene.ends(KILLED)
    scene.tally["kills"] += 1


FAULTS: Final = (
    Fault(name="kill-commit", strike=commit, lacks=strace_lacks),
    Fault(name="kill-fold", strike=fold, lacks=strace_lacks, load=FOLDING),
    Fault(name="kill-opening", strike=opening, lacks=strace_lacks),
    Fault(name="kill-closing", strike=closing, lacks=strace_lacks),
    Fault(name="kill-answer", strike=answer, lacks=strace_lacks),
)
