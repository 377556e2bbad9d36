"""Memory and descriptors that are not given: the relay goes on or ends, and nobody is misled."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench.torture.errors import NotPossibleError
from bench.torture.fault import Fault
from bench.torture.faults.full import FILLING, FULL, address_space
from bench.torture.processes import KILLED, true_within
from bench.torture.scene import Scene
from relay.exits import ExitCode

MIB: Final = 1 << 20
TIMES: Final = 4
MORE_ADDRESSES_BYTES: Final = 4 * MIB
STARVED_SECONDS: Final = 5.0
LIVES_SECONDS: Final = 2.0

MEMORY_GROUPS: Final = Path("/sys/fs/cgroup/memory")
MORE_MEMORY_BYTES: Final = range(1 * MIB, 8 * MIB)
"""Beyond what the process has already; what it reads and writes of files is counted, too."""

GAVE_UP: Final = (ExitCode.FAILED, ExitCode.IO, -signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS)


async def addresses(scene: Scene) -> None:
    """Hardly any more address space, under load of large messages: allocations fail anywhere.

    The process may go on, refuse sends, or end: with a code of its own, or by a signal, since a
    stack that cannot grow is a SIGSEGV. Nothing that was acked is lost.
    """
    for _ in range(scene.times(TIMES)):
        pid = scene.relay.pid
        before = resource.prlimit(pid, resource.RLIMIT_AS)
        limit = address_space(pid) + scene.chance.randrange(MORE_ADDRESSES_BYTES)
        resource.prlimit(pid, resource.RLIMIT_AS, (limit, before[1]))
        scene.crowd.all_come_back()
        if await true_within(STARVED_SECONDS, lambda: not scene.relay.is_running):
            await scene.ends(*GAVE_UP)
            scene.tally["ends for want of memory"] += 1
            await scene.relay.start()
        else:
            resource.prlimit(pid, resource.RLIMIT_AS, before)
            scene.tally["lived on little memory"] += 1
        await scene.crowd.acks(20)


def groups_lack() -> str | None:
    """What `Fault.lacks` says where the kernel's memory groups cannot be used."""
    if os.access(MEMORY_GROUPS / "cgroup.procs", os.W_OK):
        return None
    return "no memory group (cgroup v1) can be made here"


@contextmanager
def _memory_group(pid: int, limit: int) -> Iterator[Path]:
    """The process gets no more memory than this, page cache included, until the block ends.

    What it has already is not counted.

    Raises:
        NotPossibleError: the kernel does not do that here.
    """
    group = MEMORY_GROUPS / f"ksmp-torture-{pid}"
    try:
        group.mkdir()
        (group / "cgroup.procs").write_text(str(pid))
        (group / "memory.limit_in_bytes").write_text(str(limit))
    except OSError as error:
        if group.is_dir():
            _leave(group, pid)
        raise NotPossibleError(f"a memory group: {error}") from None
    try:
        yield group
    finally:
        _leave(group, pid)


def _leave(group: Path, pid: int) -> None:
    if Path(f"/proc/{pid}").exists():
        (MEMORY_GROUPS / "cgroup.procs").write_text(str(pid))
    group.rmdir()


async def out_of_memory(scene: Scene) -> None:
    """A memory group with less than the process asks for: the kernel kills it, wherever it is.

    As `kill -9`; or it lives, where the kernel finds pages to take back.
    """
    for _ in range(scene.times(TIMES)):
        with _memory_group(scene.relay.pid, scene.chance.choice(MORE_MEMORY_BYTES)):
            scene.crowd.all_come_back()
            has_ended = await true_within(STARVED_SECONDS, lambda: not scene.relay.is_running)
        if has_ended:
            await scene.ends(KILLED)
            scene.tally["kills"] += 1
            await scene.relay.start()
        else:
            scene.tally["lived on little memory"] += 1
        await scene.crowd.acks(20)


def _open_descriptors(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


async def descriptors(scene: Scene) -> None:
    """Hardly a descriptor: who is connected goes on, who is not gets in when there are more."""
    for _ in range(scene.times(TIMES // 2)):
        pid = scene.relay.pid
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        limit = _open_descriptors(pid) + 1
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, before[1]))
        await scene.crowd.acks(30)
        scene.crowd.all_come_back()
        await asyncio.sleep(LIVES_SECONDS)
        scene.require(scene.relay.is_running, "the relay has ended")
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        scene.tally["times without descriptors"] += 1
        await scene.crowd.acks(30)
        await scene.crowd.all_ready()


FAULTS: Final = (
    Fault(
        name="address-space",
        strike=addresses,
        load=FILLING,
        refused=frozenset({FULL, "overloaded", "internal", "conversation_unavailable", "rejected"}),
        may_complain=True,
        takes_stock=False,
    ),
    Fault(
        name="out-of-memory",
        strike=out_of_memory,
        load=FILLING,
        lacks=groups_lack,
        takes_stock=False,
    ),
    Fault(name="descriptors", strike=descriptors),
)
