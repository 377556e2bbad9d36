"""A disk without room, and a map without room: sending waits, reading goes on."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench.relay_of_its_own import DATA
from bench.torture.crowd import Load
from bench.torture.errors import BrokenError, NotPossibleError
from bench.torture.fault import Fault
from bench.torture.scene import Scene

MIB: Final = 1 << 20
DISK_BYTES: Final = 96 * MIB
LEFT_BYTES: Final = 24 * MIB
"""At most so much is left when it begins to fill up."""

FILLED_SECONDS: Final = 60.0
RECOVERED_SECONDS: Final = 60.0
TIMES: Final = 2

FILLING: Final = Load(sends_per_second=200.0, bulk_bytes=131_072, bulk_share=0.6)
FULL: Final = "storage_full"

MAP_BYTES: Final = 64 * MIB
NO_MORE_BYTES: Final = 100 * MIB
"""Of address space beyond what the process has: too little for a map twice as large."""


# ── a small disk ─────────────────────────────────────────────────────────────────────────────


@contextmanager
def small_disk(directory: Path) -> Iterator[Path]:
    """An ext4 file system in a file, mounted for the time of the round.

    Raises:
        NotPossibleError: that is not permitted here.
    """
    image, mounted = directory / "disk.img", directory / "disk"
    mounted.mkdir()
    with image.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, DISK_BYTES)
    _run("mkfs.ext4", "-q", "-F", "-m", "0", str(image))
    _run("mount", "-o", "loop", str(image), str(mounted))
    try:
        yield mounted / DATA
    except BrokenError:
        shutil.copytree(mounted / DATA, directory / DATA)  # the evidence
        raise
    finally:
        if subprocess.run(["umount", str(mounted)], check=False).returncode:
            subprocess.run(["umount", "-l", str(mounted)], check=False)
        image.unlink()


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, check=False)
    if done.returncode:
        raise NotPossibleError(f"{words[0]}: {done.stderr.decode(errors='replace').strip()}")


def mount_lacks() -> str | None:
    """What `Fault.lacks` says of a fault that needs a disk of its own."""
    if os.geteuid() != 0:
        return "only root may mount a small disk"
    missing = [name for name in ("mkfs.ext4", "mount", "umount") if shutil.which(name) is None]
    return f"{missing[0]} is not installed" if missing else None


async def disk(scene: Scene) -> None:
    """The disk fills up under load, wherever the relay is: at a commit, in a fold.

    New sends are refused with `storage_full`, nothing is lost, reading goes on, and the process
    does not end. Half of the times it is killed meanwhile, and starts on the full disk. With room
    again it recovers by itself.
    """
    ballast = scene.relay.data.parent / "ballast"
    for _ in range(scene.times(TIMES)):
        left = scene.chance.randrange(LEFT_BYTES)
        free = shutil.disk_usage(ballast.parent).free
        with ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(1, free - left))
        await _refused(scene)
        scene.tally["times full"] += 1
        await _is_read(scene)
        if scene.chance.random() < 0.5:
            await scene.kill_and_start()
            await _refused(scene)
        ballast.unlink()
        await scene.crowd.acks(20, RECOVERED_SECONDS)


async def map_grows(scene: Scene) -> None:
    """The map begins with 1 MiB, and doubles again and again under load: nobody notices.

    It is killed meanwhile, too.
    """
    await scene.crowd.acks(200)
    await scene.kill_and_start()
    await scene.crowd.acks(600 if not scene.is_hurried else 100)
    size = (scene.relay.store / "data.mdb").stat().st_size
    scene.notes.append(f"{size / MIB:.0f} MiB in a map of 1 MiB at first")


async def map_is_stuck(scene: Scene) -> None:
    """The map is full, and the system gives no more address space: as where the disk is full."""
    pid = scene.relay.pid
    limit = address_space(pid) + NO_MORE_BYTES
    before = resource.prlimit(pid, resource.RLIMIT_AS)
    resource.prlimit(pid, resource.RLIMIT_AS, (limit, before[1]))
    await _refused(scene)
    scene.tally["times full"] += 1
    await _is_read(scene)
    resource.prlimit(pid, resource.RLIMIT_AS, before)
    await scene.crowd.acks(20, RECOVERED_SECONDS)


def address_space(pid: int) -> int:
    """How much a process has, in bytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
    return pages * resource.getpagesize()


async def _refused(scene: Scene) -> None:
    await scene.crowd.refusal(FULL, FILLED_SECONDS)
    scene.require(scene.relay.is_running, "the relay has ended")


async def _is_read(scene: Scene) -> None:
    """Somebody comes back, and reads."""
    member = scene.chance.choice(scene.crowd.members)
    member.come_back()
    async with asyncio.timeout(RECOVERED_SECONDS):
        await member.ready.wait()


FAULTS: Final = (
    Fault(
        name="full-disk",
        strike=disk,
        lacks=mount_lacks,
        place=small_disk,
        settings={"KSMP_LIMITS__MIN_FREE_BYTES": "0"},
        load=FILLING,
        refused=frozenset({FULL, "overloaded"}),
        takes_stock=False,
    ),
    Fault(
        name="map-grows",
        strike=map_grows,
        load=FILLING,
        settings={"KSMP_STORE__MAP_SIZE_BYTES": f"{MIB}"},
        takes_stock=False,
    ),
    Fault(
        name="map-stuck",
        strike=map_is_stuck,
        load=FILLING,
        settings={"KSMP_STORE__MAP_SIZE_BYTES": f"{MAP_BYTES}"},
        refused=frozenset({FULL, "overloaded"}),
        takes_stock=False,
    ),
)
