"""The embedded log: `storage.log.Log` on one LMDB environment.

Operations go through the group commit and the writer, on one executor; reads go through another,
so that a long replay never waits for a sync, nor a sync for it; and what moves from the journal
into the tables goes through a third, so that neither waits for that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import trio

from ksmp.types import Epoch, GlobalInboxSeq, UserId
from storage.commit_meter import CommitMeter
from storage.environment import Environment
from storage.errors import StorageError
from storage.executor import Executor
from storage.failpoints import Failpoints
from storage.group_commit import GroupCommit
from storage.limits import StoreLimits
from storage.log import Log, Operation, Outcome, Page, ReadStatePage, Settle
from storage.read_meter import ReadMeter
from storage.reader import Reader
from storage.space import SpaceWatch
from storage.transaction import Writer
from storage.usage import StoreUsage

T = TypeVar("T")


class LmdbLog(Log):
    """Records, inboxes and keys in one open `Environment`, which the caller closes afterwards."""

    def __init__(
        self,
        environment: Environment,
        *,
        writing: Executor,
        reading: Executor,
        folding: Executor,
        free_bytes: Callable[[], int],
        after_commit: Callable[[], None],
        on_failure: Callable[[Exception], None],
        on_bug: Callable[[Exception], None],
        on_space: Callable[[bool], None] = lambda _: None,
        limits: StoreLimits = StoreLimits(),
        meter: CommitMeter | None = None,
        read_meter: ReadMeter | None = None,
        failpoints: Failpoints | None = None,
        clock: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """The callbacks are those of `GroupCommit` and `SpaceWatch`, `free_bytes` the writer's.

        `clock` is `GroupCommit`'s too.
        """
        self._environment = environment
        self._reading = reading
        self._reader = Reader(environment)
        self._read_meter = read_meter or ReadMeter()
        self._on_failure = on_failure
        self._folding = folding
        self._is_folding = False
        self._meter = meter or CommitMeter()
        self._writer = Writer(environment, free_bytes, limits, self._meter, failpoints)
        self._space = SpaceWatch(on_space)
        self._settled: trio.Event | None = None  # made by whoever waits for it
        self._group_commit = GroupCommit(
            self._writer.transact,
            writing,
            after_commit=after_commit,
            on_failure=on_failure,
            on_bug=on_bug,
            on_outcomes=self._note,
            commit_bytes=limits.commit_bytes,
            clock=clock,
        )

    def adopt(self, limits: StoreLimits) -> None:
        """Keep `limits` from the next transaction on."""
        self._group_commit.adopt(limits.commit_bytes)
        self._writer.adopt(limits)

    @property
    def epoch(self) -> Epoch:
        """See `Log.epoch`."""
        return self._environment.epoch

    def submit(self, operation: Operation, settle: Settle) -> None:
        """See `Log.submit`.

        Raises:
            ValueError: the operation contradicts itself; nothing was queued.
        """
        self._group_commit.submit(operation, settle)

    async def gather(self) -> None:
        """See `Log.gather`."""
        while self._group_commit.is_slow_under_way:
            if self._settled is None:
                self._settled = trio.Event()
            await self._settled.wait()

    def _note(self, outcomes: Sequence[Outcome]) -> None:
        self._space.note(outcomes)
        self._fold_on()
        if self._settled is not None:
            self._settled.set()
            self._settled = None

    def _fold_on(self) -> None:
        """Have the checkpoint keep up with commits, which wait for it where it is far behind."""
        if not self._is_folding and self._writer.is_slice_due:
            self._is_folding = True
            self._folding.submit(self._writer.fold, self._folded)
        self._hold(self._writer.is_far_behind)

    def _hold(self, is_held: bool) -> None:
        self._meter.hold(is_held)
        self._group_commit.hold(is_held)

    def _folded(self, failure: StorageError | None) -> None:
        self._is_folding = False
        if failure is None and self._writer.has_room_to_fold:
            self._fold_on()
            return
        # The next commit tries again, or is told of the failure: it must not wait for this.
        self._hold(False)
        if failure is not None:
            self._on_failure(failure)

    def finish(self) -> None:
        """Move all that is committed into LMDB's tables; to be called when nobody submits more.

        So a store that was closed is whole without its journal. Where it cannot be done, the next
        start finds the journal and goes on with it.
        """
        self._folding.submit(self._writer.finish, self._folded)

    async def page(
        self,
        user: UserId,
        after: GlobalInboxSeq,
        through: GlobalInboxSeq,
        max_bytes: int,
    ) -> Page:
        """See `Log.page`."""
        return await self._read(lambda: self._reader.page(user, after, through, max_bytes))

    async def read_states(
        self, user: UserId, stored_from: GlobalInboxSeq, after: bytes | None, limit: int
    ) -> ReadStatePage:
        """See `Log.read_states`."""
        return await self._read(lambda: self._reader.read_states(user, stored_from, after, limit))

    async def usage(self) -> StoreUsage | None:
        """How much room the store takes, if the system says; after the reads that wait already."""
        return await self._read(self._environment.usage)

    async def _read(self, job: Callable[[], T | StorageError]) -> T:
        """Cancelled, it leaves at once; what the job still returns falls on deaf ears."""
        results: list[T | StorageError] = []
        done = trio.Event()

        def deliver(result: T | StorageError) -> None:
            results.append(result)
            done.set()

        self._reading.submit(partial(self._read_meter.measure, job), deliver)
        await done.wait()
        (result,) = results
        if isinstance(result, StorageError):
            self._on_failure(result)
            raise result
        return result
