"""A store that is damaged while nobody has it open: that is found, or there is nothing to find.

Of a store that was stopped in order, each bit that matters is told by `verify`: what is damaged is
found, or all rows are the same as before, so that what was hit is space that nothing is in.

Of one that was killed, its journal has what is not in the tables yet. Its last frame can be cut off
by a crash, too, so whoever finds it damaged cannot tell whether it was ever acknowledged: the store
is then as it was before that frame. Anything before the last frame is found. A journal that was cut
off is as one that was not written further; all its earlier content is there.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Final, NamedTuple

from bench.torture.errors import BrokenError
from bench.torture.examining import Examined, Examiner
from bench.torture.fault import Fault
from bench.torture.scene import Scene
from storage.directory import DATA_FILE
from storage.journal import FRAME_ALIGNMENT, JOURNAL_FILES

FLIPS: Final = 150
CUTS: Final = 40
ENOUGH_ACKS: Final = 200
PAGE_BYTES: Final = 4_096
FIRST_BYTES: Final = 2 * PAGE_BYTES
ANYWHERE_SHARE: Final = 0.1
FIRST_SHARE: Final = 0.1
GONE_SHARE: Final = 0.1
MOST_FRAMES: Final = 1_000

FOUND: Final = "found by verify"
NOTHING_THERE: Final = "nothing was there"
LAST_FRAME: Final = "the last frame was taken for torn"
CUT_SHORT: Final = "as if the journal had not been written further"


async def flips(scene: Scene) -> None:
    """One bit is flipped anywhere in `data.mdb` of a stopped relay: found, or nothing was there.

    Then it is flipped back, and another one is.
    """
    await scene.crowd.acks(ENOUGH_ACKS)
    await scene.relay.stop()
    damaged = _copy(scene)
    file = damaged / DATA_FILE
    content = file.read_bytes()
    with Examiner() as examiner:
        before = _sound(scene, examiner.ask(damaged))
        for _ in range(scene.times(FLIPS)):
            offset, bit = _somewhere(scene.chance, content), scene.chance.randrange(8)
            _write(file, offset, bytes([content[offset] ^ 1 << bit]))
            what = f"bit {bit} of byte {offset} of {DATA_FILE}"
            _judge(scene, what, examiner.ask(damaged), before)
            _write(file, offset, content[offset : offset + 1])
    await scene.relay.start()


async def flips_of_the_journal(scene: Scene) -> None:
    """One bit is flipped in the journal of a killed relay: found, or in the last frame, or free."""
    await _damage_journal(scene, scene.times(FLIPS // 2), _flipped)


async def cuts_of_the_journal(scene: Scene) -> None:
    """The journal of a killed relay is cut off somewhere: the rest is there, and nothing else."""
    await _damage_journal(scene, scene.times(CUTS), _cut)


async def cuts(scene: Scene) -> None:
    """`data.mdb` of a stopped relay is cut off somewhere: found, or nothing was there."""
    await scene.crowd.acks(ENOUGH_ACKS)
    await scene.relay.stop()
    damaged = _copy(scene)
    file = damaged / DATA_FILE
    content = file.read_bytes()
    with Examiner() as examiner:
        before = _sound(scene, examiner.ask(damaged))
        for _ in range(scene.times(CUTS)):
            length = scene.chance.randrange(_used_bytes(content) + PAGE_BYTES)
            os.truncate(file, length)
            _judge(scene, f"{DATA_FILE} cut to {length} bytes", examiner.ask(damaged), before)
            file.write_bytes(content)
    await scene.relay.start()


# ── the journal ──────────────────────────────────────────────────────────────────────────────


class _Damage(NamedTuple):
    """Done to one file of a journal."""

    words: str
    content: bytes | None
    """What is left; None where the file has gone."""

    later: str
    """What it is called, where the store is as it was before the last frames."""

    most_frames: int
    """How many of those may lack."""


async def _damage_journal(
    scene: Scene, times: int, damage: Callable[[Random, str, bytes], _Damage]
) -> None:
    await scene.crowd.acks(ENOUGH_ACKS)
    await scene.kill()
    damaged = _copy(scene)
    with Examiner() as examiner:
        before = _sound(scene, examiner.ask(damaged, shorter=MOST_FRAMES))
        scene.notes.append(f"{before.frames} frames in the journal")
        for _ in range(times):
            name = scene.chance.choice(JOURNAL_FILES)
            file = damaged / name
            content = file.read_bytes()
            done = damage(scene.chance, name, content)
            if done.content is None:
                file.unlink()
            else:
                file.write_bytes(done.content)
            shorter = before.shorter[: done.most_frames]
            told = examiner.ask(damaged)
            _judge(scene, done.words, told, before, shorter, done.later)
            file.write_bytes(content)
    await scene.relay.start()


def _flipped(chance: Random, name: str, content: bytes) -> _Damage:
    if not content:
        return _Damage(f"{name} is empty", content, LAST_FRAME, 0)
    offset, bit = _somewhere(chance, content), chance.randrange(8)
    flipped = bytearray(content)
    flipped[offset] ^= 1 << bit
    return _Damage(f"bit {bit} of byte {offset} of {name}", bytes(flipped), LAST_FRAME, 1)


def _cut(chance: Random, name: str, content: bytes) -> _Damage:
    if chance.random() < GONE_SHARE:
        return _Damage(f"{name} gone", None, CUT_SHORT, 0)
    length = chance.randrange(_used_bytes(content) + FRAME_ALIGNMENT)
    return _Damage(f"{name} cut to {length} bytes", content[:length], CUT_SHORT, MOST_FRAMES)


# ── what is found ────────────────────────────────────────────────────────────────────────────


def _copy(scene: Scene) -> Path:
    """Its files, without those that lock them."""
    damaged = scene.directory / "damaged"
    shutil.rmtree(damaged, ignore_errors=True)
    damaged.mkdir()
    for name in (DATA_FILE, *JOURNAL_FILES):
        if (scene.relay.store / name).exists():
            shutil.copyfile(scene.relay.store / name, damaged / name)
    return damaged


def _sound(scene: Scene, examined: Examined | None) -> Examined:
    scene.require(examined is not None and not examined.problems, f"undamaged: {examined}")
    assert examined is not None
    return examined


def _judge(
    scene: Scene,
    what: str,
    told: Examined | None,
    before: Examined,
    shorter: Sequence[Mapping[str, str]] = (),
    later: str = "",
) -> None:
    """Count what this damage came to.

    Raises:
        BrokenError: it has changed what is stored, and is not found.
    """
    if told is None:
        raise BrokenError(f"{what}: verify did not survive it")
    if told.problems:
        scene.tally[FOUND] += 1
    elif told.tables == before.tables:
        scene.tally[NOTHING_THERE] += 1
    elif told.tables in shorter:
        scene.tally[later] += 1
    else:
        changed = [name for name, rows in before.tables.items() if told.tables[name] != rows]
        raise BrokenError(f"{what} changed {', '.join(changed)}, and verify finds nothing")


# ── where ────────────────────────────────────────────────────────────────────────────────────


def _somewhere(chance: Random, content: bytes) -> int:
    """An offset: mostly in what is used, now and then in the pages that tell where all is."""
    used = _used_bytes(content)
    dice = chance.random()
    if dice < ANYWHERE_SHARE or not used:
        return chance.randrange(len(content))
    if dice < ANYWHERE_SHARE + FIRST_SHARE:
        return chance.randrange(min(used, FIRST_BYTES))
    return chance.randrange(used)


def _used_bytes(content: bytes) -> int:
    """Behind them there are only zeros."""
    return len(content.rstrip(b"\0"))


def _write(file: Path, offset: int, content: bytes) -> None:
    with file.open("r+b") as opened:
        opened.seek(offset)
        opened.write(content)


FAULTS: Final = (
    Fault(name="flips", strike=flips, takes_stock=False),
    Fault(name="flips-journal", strike=flips_of_the_journal, takes_stock=False),
    Fault(name="cuts", strike=cuts, takes_stock=False),
    Fault(name="cuts-journal", strike=cuts_of_the_journal, takes_stock=False),
)
