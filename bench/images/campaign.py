"""Many recordings, many images of each, on all cores; to be interrupted and gone on with at will.

    OUT/recording-7.recording    one for each seed; with it, each of its images can be had again
    OUT/progress.json            how many images of each were examined, and which failed

An image that ends the process that examines it has failed, and another process goes on behind it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import Final

import msgspec
import trio
from msgspec import Struct, field

from bench.images.recording import SUFFIX, read_recording
from bench.images.rounds import moments_of

PROGRESS: Final = "progress.json"
WORKER: Final = (sys.executable, "-m", "bench.images.worker")
TOLD_EVERY_SECONDS: Final = 5.0
MOST_TOLD: Final = 100
"""Failures of one recording; more are counted."""


class Failure(Struct, frozen=True):
    """One image that failed."""

    round: int
    moment: int
    problem: str


class Progress(Struct):
    """Of one recording."""

    examined: int = 0
    failed: int = 0
    failures: list[Failure] = field(default_factory=list)
    """The first of them."""

    def note(self, round_: int, moment: int, problem: str) -> None:
        """One more image was examined; `problem` is empty when all is well."""
        self.examined += 1
        if problem:
            self.failed += 1
            if len(self.failures) < MOST_TOLD:
                self.failures.append(Failure(round_, moment, problem))


class WorkerError(Exception):
    """A worker could not work. It has said why on standard error."""


class Campaign:
    """So many images of each of some recordings."""

    def __init__(self, out: Path, seeds: Sequence[int], images_of_each: int) -> None:
        """What is in `out` from an earlier one counts."""
        self._out = out
        self._images_of_each = images_of_each
        self.seeds = list(seeds)
        self.progress = read_progress(out)
        for seed in seeds:
            self.progress.setdefault(seed, Progress())

    @property
    def examined(self) -> int:
        """How many images, in all."""
        return sum(self.progress[seed].examined for seed in self.seeds)

    @property
    def failed(self) -> int:
        """How many of them."""
        return sum(self.progress[seed].failed for seed in self.seeds)

    def file_of(self, seed: int) -> Path:
        """Where that recording is."""
        return self._out / f"recording-{seed}{SUFFIX}"

    async def run(self, workers: int, tell: Callable[[], None] = lambda: None) -> None:
        """Examine what has not been, with so many processes at a time; `tell` of it now and then.

        Raises:
            WorkerError: one of them could not even make its recording.
        """
        self._out.mkdir(parents=True, exist_ok=True)
        seeds = iter(self.seeds)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._tell_on, tell)
                async with trio.open_nursery() as working:
                    for _ in range(workers):
                        working.start_soon(self._work_through, seeds)
                nursery.cancel_scope.cancel()
        finally:
            self._save()

    async def _tell_on(self, tell: Callable[[], None]) -> None:
        while True:
            await trio.sleep(TOLD_EVERY_SECONDS)
            self._save()
            tell()

    async def _work_through(self, seeds: Iterator[int]) -> None:
        for seed in seeds:
            while self.progress[seed].examined < self._images_of_each:
                await self._work_on(seed)

    async def _work_on(self, seed: int) -> None:
        """Until all images of that recording are examined, or one has ended the process."""
        progress = self.progress[seed]
        file = self.file_of(seed)
        span = map(str, (seed, progress.examined, self._images_of_each))
        worker = await trio.lowlevel.open_process(
            [*WORKER, str(file), *span], stdin=DEVNULL, stdout=PIPE
        )
        try:
            await _read_lines(worker, progress.note)
            code = await worker.wait()
        finally:
            worker.kill()
            with trio.CancelScope(shield=True):
                await worker.wait()
        if code == 0:
            return
        if code > 0 or not file.exists():
            raise WorkerError(f"recording {seed}: its worker ended with {code}")
        moments = moments_of(read_recording(file))
        round_, place = divmod(progress.examined, len(moments))
        progress.note(round_, moments[place], f"it ends the process by signal {-code}")

    def _save(self) -> None:
        draft = self._out / (PROGRESS + ".draft")
        draft.write_bytes(msgspec.json.encode(self.progress))
        draft.replace(self._out / PROGRESS)


async def _read_lines(worker: trio.Process, note: Callable[[int, int, str], None]) -> None:
    """Every line that is whole."""
    assert worker.stdout is not None, "it was asked for"
    text = b""
    async for received in worker.stdout:
        *lines, text = (text + received).split(b"\n")
        for line in lines:
            round_, moment, problem = line.decode().split("\t", 2)
            note(int(round_), int(moment), problem)


def read_progress(out: Path) -> dict[int, Progress]:
    """By seed of the recording."""
    file = out / PROGRESS
    if not file.exists():
        return {}
    return msgspec.json.decode(file.read_bytes(), type=dict[int, Progress])
