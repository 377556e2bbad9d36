"""The writer: runs a batch of operations as one synced transaction and says what became of each.

    nothing to store        no frame of the journal, no sync
    committed               the outcomes hold, and survive a power loss
    no space                nothing is stored; the batch runs again, what would store is `Full`
    anything else           `Failed` for every operation, and for every later one

A transaction is committed when its rows are in the journal, synced. One whose sync failed may be on
disk, in part or whole; what is really there shows only after a restart: hence the last line.

When a file of the journal is full, commits go on in the other, and a checkpoint moves the rows of
the first into LMDB's tables, on a thread of its own. While it is not done, the present file grows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import lmdb

from storage.batch import Batch
from storage.checkpoint import Checkpoint
from storage.commit_meter import CommitMeter
from storage.environment import Environment
from storage.errors import NO_SPACE, NoSpaceError, StorageError, StoreFailedError
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
from storage.rows import Rows, encode_rows

MOST_FILLED: Final = 4
"""Times its usual size that a file may grow to while the other is folded: then commits wait or,
where there is no room to fold it, are refused.
"""


FOLDED_AT: Final = 0.75
"""How full the present file is when the other should have been folded. A checkpoint that went as
fast as it can would have whoever commits meanwhile wait; one that has not ended when the present
file is full, lets it grow.
"""


class Writer:
    """The one writer of a store. It commits on the storage thread and folds on another."""

    def __init__(
        self,
        environment: Environment,
        free_bytes: Callable[[], int],
        limits: StoreLimits = StoreLimits(),
        meter: CommitMeter | None = None,
        failpoints: Failpoints | None = None,
    ) -> None:
        """`free_bytes` tells the free space where the store is; asked once per transaction.

        Raises:
            StoreUnavailableError: the journal cannot be opened.
        """
        self._meter = meter or CommitMeter()
        self._environment = environment
        self._free_bytes = free_bytes
        self._limits = limits
        self._names = Names()
        self._failure: StorageError | None = None
        self._before = failpoint(failpoints, Place.BEFORE_COMMIT)
        self._after = failpoint(failpoints, Place.AFTER_COMMIT)
        environment.open_journal()
        self._checkpoint = self._recovered()
        self.has_room_to_fold = True
        """Whether the disk had room for the latest slice."""

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
                self._fail(error)
            finally:
                self._meter.end()
        assert self._failure is not None
        return [Failed(self._failure)] * len(operations)

    def _fail(self, error: Exception) -> StorageError:
        self._failure = _failure(error)
        self._failure.__cause__ = error
        return self._failure

    def _run(self, operations: Sequence[Operation]) -> list[Outcome]:
        try:
            return self._attempt(operations, has_space=True)
        except NoSpaceError:
            return self._attempt(operations, has_space=False)

    def _attempt(self, operations: Sequence[Operation], *, has_space: bool) -> list[Outcome]:
        limits = self._limits
        may_write = self._may_write(has_space, limits.min_free_bytes)
        with self._environment.viewing() as view:
            batch = Batch(view, self._names, limits, may_write)
            outcomes = [batch.decide(operation) for operation in operations]
        if not batch.is_empty:
            self._meter.sync()
            if self._before is not None and self._before.hit(lambda: _letters(operations)):
                raise NoSpaceError  # so nothing is stored, as on a full disk
            self._commit(batch.rows)
            self._meter.synced(len(operations))
            if self._after is not None and self._after.hit(lambda: _letters(operations)):
                outcomes = [_lost(outcome) for outcome in outcomes]
        batch.remember_names()
        return outcomes

    def _commit(self, rows: Rows) -> None:
        """At return `rows` are on the disk, and seen by everyone.

        Raises:
            NoSpaceError: there is no room; nothing was stored.
        """
        environment = self._environment
        environment.use_journal()
        payload = encode_rows(rows)
        if self._checkpoint is None:
            if not environment.journal.has_room(payload):
                self._turn()
        elif not self.has_room_to_fold and environment.journal.filled >= MOST_FILLED:
            raise NoSpaceError  # what would be stored now could not be moved either
        environment.journal.append(payload)
        environment.unfolded.add(rows)

    # ── checkpoints ──────────────────────────────────────────────────────────────────────────

    def _recovered(self) -> Checkpoint | None:
        """The checkpoint that a crash has interrupted, from its beginning."""
        environment = self._environment
        folding = environment.unfolded.generations[1]
        if not any(folding.values()):
            return None
        return Checkpoint(environment, folding, environment.journal.folding_number)

    def _turn(self) -> None:
        """The journal's other file is written from now on; what the present one has is moved."""
        environment = self._environment
        environment.unfolded.turn()
        environment.journal.turn()
        self._checkpoint = self._recovered()

    @property
    def is_folding(self) -> bool:
        """Whether there is a checkpoint to be moved on, by `fold`. For any thread."""
        return self._checkpoint is not None and self._failure is None

    @property
    def is_slice_due(self) -> bool:
        """Whether `fold` should move the checkpoint on: it is behind commits. For any thread."""
        checkpoint = self._checkpoint
        if checkpoint is None or self._failure is not None:
            return False
        return checkpoint.moved < self._environment.journal.filled / FOLDED_AT

    @property
    def is_far_behind(self) -> bool:
        """Whether commits should wait for the checkpoint. For any thread."""
        is_behind = self._environment.journal.filled >= MOST_FILLED
        return is_behind and self.is_folding and self.has_room_to_fold

    # ── on the thread that folds ─────────────────────────────────────────────────────────────

    def fold(self) -> StorageError | None:
        """Move the checkpoint on by one slice, if there is one. Never raises.

        Where there is no room, nothing happens, and the journal keeps the rows. The error, if any,
        is also that of every later transaction.
        """
        if not self.is_folding:
            return None
        try:
            self._step()
        except NoSpaceError:
            self.has_room_to_fold = False
        except Exception as error:  # noqa: BLE001 - whatever it is, the disk is in doubt
            return self._fail(error)
        return None

    def _step(self) -> None:
        assert self._checkpoint is not None, "whoever calls has looked"
        try:
            self._checkpoint.step()
        except lmdb.MapFullError:
            if not self._environment.grow():
                raise NoSpaceError from None
            return
        except lmdb.Error as error:
            if getattr(error, "code", 0) in NO_SPACE:
                raise NoSpaceError from error
            raise
        self.has_room_to_fold = True
        if not self._checkpoint.slices_left:
            self._environment.unfolded.forget_folded()
            self._checkpoint = None  # last of all: now the storage thread may turn

    def finish(self) -> StorageError | None:
        """Move all that is committed into the tables, and remove the journal. Never raises.

        Nobody may be committing.

        Where that fails, the journal keeps what the tables lack, as after a crash.
        """
        if self._failure is not None:
            return None
        try:
            for _ in range(2):  # generations
                while self._checkpoint is not None:
                    self._step()
                self._turn()
            self._environment.drop_journal()
        except NoSpaceError:
            pass
        except Exception as error:  # noqa: BLE001 - as above
            return self._fail(error)
        return None

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
    return StoreFailedError(
        "a storage transaction failed",
        _text(error),
        "Its outcome is unknown until the relay restarts. Check the disk.",
    )


def _text(error: Exception) -> str:
    """The engine's and the system's texts are fixed; those of others might quote a name."""
    match error:
        case OSError(strerror=str(text)):
            return text
        case lmdb.Error():
            return str(error)
        case _:
            return type(error).__name__
