"""The real world, in one place: clocks, chance, names, threads.

Everything else is handed these, so that the whole relay can run in a world whose time and chance
come from a seed.
"""

from __future__ import annotations

import gc
import os
import random
import resource
import secrets
import select
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Final, NoReturn, TypeVar

import trio

from ksmp.types import ConnectionId, Epoch, TimeMs

T = TypeVar("T")

RESERVED_DESCRIPTORS: Final = 100
"""What a relay opens besides connections: store, wake-ups, event loop, the operator's peers."""


def wall_clock() -> TimeMs:
    """Milliseconds since the Unix epoch. May go back; nothing is ordered by it."""
    return TimeMs(time.time_ns() // 1_000_000)


def jitter() -> float:
    """A number in [0, 1), for spreading retries. Not a secret."""
    return random.random()  # noqa: S311 - spreading, not secrecy


def chance(seed: int | None) -> Callable[[], float]:
    """Numbers in [0, 1): the same from the same seed, others each time without one."""
    return random.Random(seed).random  # noqa: S311 - dice, not secrecy


def new_connection_id() -> ConnectionId:
    """A name no other connection has."""
    return ConnectionId(secrets.token_urlsafe(12))


def new_epoch() -> Epoch:
    """A name no other history of a store has."""
    return Epoch(secrets.token_urlsafe(16))


def random_key() -> bytes:
    """32 secret bytes."""
    return secrets.token_bytes(32)


def new_secret() -> str:
    """A text that nobody can guess: 32 random bytes."""
    return secrets.token_urlsafe(32)


def monotonic() -> float:
    """Seconds that never go back, the same for every thread."""
    return time.monotonic()


def block(seconds: float) -> None:
    """Stop the calling thread, whatever else it has to do. For ordered faults."""
    time.sleep(seconds)


def die(code: int) -> NoReturn:
    """End the process on the spot: nothing is finished, flushed or told."""
    os._exit(code)


def on_loop() -> Callable[[Callable[[], None]], None]:
    """Has a call made on this event loop, from any thread; a loop that has ended makes none."""
    token = trio.lowlevel.current_trio_token()

    def call_soon(call: Callable[[], None]) -> None:
        with suppress(trio.RunFinishedError):
            token.run_sync_soon(call)

    return call_soon


def tune_the_interpreter() -> None:
    """Settle two of Python's trade-offs as a relay needs them. Call it once, when all is set up.

    A thread that waits for the interpreter gets it after the switch interval at the latest. At the
    default of 5 ms, a commit of 1 ms would wait longer for a busy event loop than for the disk.

    The garbage collector looks for cycles after every 700 new objects, and a message makes dozens.
    Hardly anything here is cyclic (what is, are tracebacks), so it may look more rarely; and what
    exists at the start stays, so it need not be looked at again.
    """
    sys.setswitchinterval(0.000_5)
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def lift_descriptor_limit() -> int:
    """Raise the soft limit of this process, and of those it starts, to the hard one; that limit.

    Each connection takes a descriptor, and the usual soft limit of 1,024 is of another age.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def open_descriptors() -> int | None:
    """How many descriptors this process has open; None where none is left to look with."""
    try:
        return sum(1 for _ in Path("/proc/self/fd").iterdir()) - 1  # one of them lists the others
    except OSError:
        return None


def has_descriptors_for(connections: int, limit: int) -> bool:
    """Whether so many connections fit beside all else; `limit` is that of the process."""
    return limit == resource.RLIM_INFINITY or limit >= connections + RESERVED_DESCRIPTORS


class SerialThread:
    """A `storage.executor.Executor` on one thread of its own.

    Made inside `trio.run`; results are delivered on that loop. A job that raises breaks the
    contract: the error is handed to `on_crash` on the loop, and no further job runs.
    """

    def __init__(self, name: str, on_crash: Callable[[BaseException], None]) -> None:
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._loop = trio.lowlevel.current_trio_token()
        self._on_crash = on_crash
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, job: Callable[[], T], deliver: Callable[[T], None]) -> None:
        """See `storage.executor.Executor`."""

        def run() -> None:
            self._loop.run_sync_soon(deliver, job())

        self._jobs.put(run)

    async def finish(self) -> None:
        """Run what was submitted, then end the thread. Nothing may be submitted afterwards."""
        self._jobs.put(None)
        await trio.to_thread.run_sync(self._thread.join)

    def _run(self) -> None:
        try:
            while (run := self._jobs.get()) is not None:
                run()
        except trio.RunFinishedError:
            pass  # the loop has ended, and nobody waits for the result
        except BaseException as crash:  # noqa: ASYNC103, BLE001 - the thread's last words
            self._loop.run_sync_soon(self._on_crash, crash)


async def in_thread(call: Callable[[], T]) -> T:
    """What `call` returns, waited for off the event loop; a cancellation does not wait for it."""
    return await trio.to_thread.run_sync(call, abandon_on_cancel=True)


def open_epoll() -> select.epoll | None:
    """An epoll of one's own; None where the operating system has none."""
    return select.epoll() if sys.platform == "linux" else None


def program() -> str:
    """How this program was called, to be typed again."""
    return sys.argv[0] if Path(sys.argv[0]).name == "ksmp-relay" else "ksmp-relay"
