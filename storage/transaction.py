"""The writer: runs a batch of operations as one synced transaction and says what became of each.

    nothing to store        no commit, no sync
    committed               the outcomes hold, and survive a power loss
    map full                aborted; the map grows; the batch runs again
    no space                aborted; the batch runs again, and whatever would store is `Full`
    anything else           `Failed` for every operation, and for every later one

A commit whose sync failed may be on disk, in part or whole, and the engine goes on as if it were.
What is really there shows only after a restart: hence the last line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import lmdb

from storage.batch import Batch
from storage.commit_meter import CommitMeter
from storage.environment import NO_SPACE, Environment, NoSpaceError
from storage.errors import StorageError, StoreFailedError
from storage.failpoints import Failpoints, failpoint
from storage.fault_orders import Letter, Place
from storage.limits import StoreLimits
from storage.log import (
    Append,
    Appended,
    Failed,
    Lost,
    MarkRead,
    Operation,
    Outcome,
    ReadHead,
    ReadMarked,
)
from storage.names import Names


class Writer:
    """The one writer of a store. Belongs to the storage thread."""

    def __init__(
        self,
        environment: Environment,
        free_bytes: Callable[[], int],
        limits: StoreLimits = StoreLimits(),
        meter: CommitMeter | None = None,
        failpoints: Failpoints | None = None,
    ) -> None:
        """`free_bytes` tells the free space where the store is; asked once per transaction."""
        self._meter = meter or CommitMeter()
        self._environment = environment
        self._free_bytes = free_bytes
        self._limits = limits
        self._names = Names()
        self._failure: StorageError | None = None
        self._before = failpoint(failpoints, Place.BEFORE_COMMIT)
        self._after = failpoint(failpoints, Place.AFTER_COMMIT)

    def adopt(self, limits: StoreLimits) -> None:
        """Judge by `limits` from the next transaction on. From any thread: it is one assignment."""
        self._limits = limits

    def transact(self, operations: Sequence[Operation]) -> list[Outcome]:
        """The outcome of each operation, in order, all committed and synced. Never raises."""
        if self._failure is None:
            self._meter.begin()
            try:
                return self._run(operations)
            except Exception as error:  # noqa: BLE001 - whatever it is, the disk is in doubt
                self._failure = _failure(error)
                self._failure.__cause__ = error
            finally:
                self._meter.end()
        return [Failed(self._failure)] * len(operations)

    def _run(self, operations: Sequence[Operation]) -> list[Outcome]:
        has_space = True
        while True:
            try:
                return self._attempt(operations, has_space)
            except lmdb.MapFullError:
                if not has_space:
                    raise  # a batch that stores nothing cannot fill the map
                has_space = self._environment.grow()
            except NoSpaceError:
                has_space = False
            except lmdb.Error as error:
                if not has_space or getattr(error, "code", 0) not in NO_SPACE:
                    raise
                has_space = False

    def _attempt(self, operations: Sequence[Operation], has_space: bool) -> list[Outcome]:
        environment = self._environment
        transaction = environment.begin()
        try:
            limits = self._limits
            may_write = self._may_write(has_space, limits.min_free_bytes)
            batch = Batch(transaction, environment.tables, self._names, limits, may_write)
            outcomes = [batch.decide(operation) for operation in operations]
            if not batch.is_empty:
                environment.reserve(batch.pages_needed(environment.page_size))
                batch.put()
                self._meter.sync()
                if self._before is not None and self._before.hit(lambda: _letters(operations)):
                    raise NoSpaceError  # so it is aborted, as on a full disk
                transaction.commit()
                self._meter.synced(len(operations))
                if self._after is not None and self._after.hit(lambda: _letters(operations)):
                    outcomes = [_lost(outcome) for outcome in outcomes]
        finally:
            transaction.abort()  # does nothing after a commit
        batch.remember_names()
        return outcomes

    def _may_write(self, has_space: bool, min_free_bytes: int) -> Callable[[], bool]:
        """Asks the operating system when first called, and gives the same answer from then on."""
        answer: bool | None = None if has_space else False

        def may_write() -> bool:
            nonlocal answer
            if answer is None:
                answer = self._free_bytes() >= min_free_bytes
            return answer

        return may_write


def _letters(operations: Sequence[Operation]) -> Iterator[Letter]:
    """Whom a transaction concerns."""
    for operation in operations:
        match operation:
            case Append(conversation, _, records):
                for record in records:
                    yield Letter(conversation, record.idempotency_key)
            case MarkRead(conversation) | ReadHead(conversation):
                yield Letter(conversation, None)


def _lost(outcome: Outcome) -> Outcome:
    """Whoever has stored nothing may know it."""
    return Lost() if isinstance(outcome, Appended | ReadMarked) else outcome


def _failure(error: Exception) -> StorageError:
    if isinstance(error, StorageError):
        return error
    # The engine's and the system's texts are fixed; those of other exceptions might quote a name.
    fixed_text = isinstance(error, lmdb.Error | OSError)
    return StoreFailedError(
        "a storage transaction failed",
        str(error) if fixed_text else type(error).__name__,
        "Its outcome is unknown until the relay restarts. Check the disk.",
    )
