"""Makes a recording: several lives of one store, one after the other, each in a process of its own.

A store begins new, or as one of an older format. Its lives end by a clean stop, by a kill at some
system call, or in the middle of sends. Between two of them the power may fail; the next one then
starts on one of the images that this may leave, so that what a recovery does is recorded too.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from bench.images.calls import Died, Event, PowerLost, Told
from bench.images.disk import Disk
from bench.images.life import Ending, Plan, epoch_of
from bench.images.marks import decode_mark, encode_mark
from bench.images.old_format import make_old_store
from bench.images.parsing import events
from bench.images.pending import SECTOR
from bench.images.promises import Promises
from bench.images.recording import Recording, write_recording
from bench.images.store_files import read_files, write_files
from bench.images.tracing import Kill, trace

LIFE: Final = (sys.executable, "-m", "bench.images.life")
"""The program that lives, called with a store, a file for marks, and a plan."""

LIVES: Final = 5
OLD: Final = 0.25
"""Of the recordings, how many begin with a store of an older format."""

KILLED_AT: Final = ("pwrite64", "pwrite64", "writev", "fdatasync", "fdatasync", "fsync")
ENDINGS: Final[Mapping[Ending, Collection[int]]] = {"stop": (0,), "kill": (-9, 137)}
"""The exit codes of strace; after a kill it ends in the same way, or says so."""


class LifeError(Exception):
    """A life did not end as planned. Says how."""


def record(
    seed: int,
    place: Path,
    *,
    program: Sequence[str] = LIFE,
    lives: int = LIVES,
    calm: bool = False,
    failed: Path | None = None,
) -> Recording:
    """A recording of `lives`; `place` is an empty directory to work in.

    In a `calm` one every life ends by a clean stop, and the power never fails. What was recorded
    until something went wrong is left in the file `failed`.

    Raises:
        LifeError: a life failed.
        BrokenPromiseError: one was told what contradicts an earlier promise.
        NoTraceError, UnknownCallError, MismatchError: it could not be recorded truly.
    """
    recorder = _Recorder(seed, place, program, calm)
    try:
        recorder.run(lives)
    except Exception:
        if failed is not None:
            write_recording(recorder.recording, failed)
        raise
    return recorder.recording


class _Recorder:
    def __init__(self, seed: int, place: Path, program: Sequence[str], calm: bool) -> None:
        self._chance = random.Random(f"recording {seed}")
        self._seed = seed
        self._store = place / "store"
        self._marks = place / "marks"
        self._account = place / "account"
        self._program = program
        self._calm = calm
        self._events: list[Event] = []
        self._disk = Disk()
        self._promises = Promises()
        self._is_large = self._chance.random() < 0.1

    @property
    def _segment_bytes(self) -> int:
        return 100_000 if self._is_large else 4_096

    @property
    def recording(self) -> Recording:
        """What has been recorded so far."""
        return Recording(self._seed, self._segment_bytes, self._events)

    def run(self, lives: int) -> None:
        if not self._calm and self._chance.random() < OLD:
            self._begin_old()
        for number in range(lives):
            plan = self._plan(number)
            code = self._live(plan)
            self._cut_writes()
            self._take(Died(read_files(self._store)))
            if code not in ENDINGS[plan.ending]:
                raise LifeError(f"life {number} of recording {self._seed} ended with {code}")
            if not self._calm and self._chance.random() < 0.4:
                left = self._disk.image(self._chance)
                write_files(self._store, left)
                self._take(PowerLost(left))

    def _begin_old(self) -> None:
        marks = make_old_store(self._store, self._chance.choice((1, 2)), epoch_of(self._seed))
        self._take(PowerLost(read_files(self._store)))
        for mark in marks:
            self._take(Told(encode_mark(mark)))

    def _plan(self, number: int) -> Plan:
        ending: Ending = "stop" if self._calm else self._chance.choice(("stop", "kill", "kill"))
        return Plan(
            self._seed,
            number,
            rounds=self._chance.randrange(2, 5),
            ending=ending,
            segment_bytes=self._segment_bytes,
            map_size_bytes=self._chance.choice((1 << 16, 1 << 20)),
            most_bytes=30_000 if self._is_large else 1_200,
        )

    def _kill(self, plan: Plan) -> Kill | None:
        """At a call of a commit, of a checkpoint, or of the start; else the life ends by itself."""
        if plan.ending == "stop" or self._chance.random() < 0.3:
            return None
        return Kill(self._chance.choice(KILLED_AT), self._chance.randrange(1, 40))

    def _cut_writes(self) -> None:
        """Let writes that were killed at their beginning have come some way, or all of it.

        So a kill can be, but hardly ever is: a process is stopped where a call begins.
        """
        for write in self._disk.writes_under_way:
            file = self._store / write.file
            length = self._chance.choice((0, self._chance.randrange(len(write.content)), 1 << 30))
            if length and file.exists():
                length -= (write.offset + length) % SECTOR if length < len(write.content) else 0
                with file.open("r+b") as opened:
                    opened.seek(write.offset)
                    opened.write(write.content[: max(0, length)])

    def _live(self, plan: Plan) -> int:
        self._marks.unlink(missing_ok=True)
        self._account.unlink(missing_ok=True)
        arguments = [str(self._store), str(self._marks), msgspec.json.encode(plan).decode()]
        code = trace([*self._program, *arguments], self._account, self._kill(plan))
        with self._account.open(encoding="ascii") as account:
            for event in events(account, self._store, self._marks):
                self._take(event)
        return code

    def _take(self, event: Event) -> None:
        self._events.append(event)
        self._disk.take(event)
        if isinstance(event, Told):
            self._promises.take(decode_mark(event.mark))
