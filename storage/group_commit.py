"""Group commit: everything that waits goes into one synced transaction, while the next one gathers.

    event loop       submit  submit │ submit submit submit │ settle …        settle …
                          │         │                      │   ↑                ↑
    storage thread        └ transact ─────── sync ─────────┴ transact ── sync ──┘

Operations wait in one queue. A job on the storage thread takes what is there, up to
`commit_bytes`, runs one transaction and returns its outcomes, which one callback on the event
loop settles in the order of submission.

Why nothing waits for ever, without a lock. The loop appends an operation *and then* looks at
`_summoned`; a job clears `_summoned` *and then* takes operations. If the loop finds it set, no job
has started since it was set, and the one submitted then is still to come: it will find the
operation. If the loop finds it clear, it submits a job itself. A job that finds nothing is
harmless. And since that job is already queued while the one before it syncs, the storage thread
goes straight on to it, whatever the loop is doing.

Why one job may leave operations to the next. The loop counts bytes and cuts the queue into
portions, each with a number; a job takes operations of one portion only. The first operation of a
portion always submits a job. So a job that an operation relies on comes after those on which all
earlier portions rely, and finds its own portion in front.

Both threads touch the queue with `append`, `popleft` and `[0]` only, each of which is atomic.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from storage.executor import Executor
from storage.limits import DEFAULT_COMMIT_BYTES
from storage.log import Append, Failed, MarkRead, Operation, Outcome, Settle

SMALL_OPERATION_BYTES: Final = 64
"""What an operation that stores no record counts for; none counts for less."""

Transact = Callable[[Sequence[Operation]], Sequence[Outcome]]
"""One synced transaction: an outcome per operation, in order. Runs on the storage thread."""


class _Waiting(NamedTuple):
    portion: int
    operation: Operation
    settle: Settle


class _Settled(NamedTuple):
    waiting: Sequence[_Waiting]
    outcomes: Sequence[Outcome]


class GroupCommit:
    """Queues operations and settles each exactly once, in order, on the event loop."""

    def __init__(
        self,
        transact: Transact,
        executor: Executor,
        *,
        after_commit: Callable[[], None],
        on_failure: Callable[[Exception], None],
        on_bug: Callable[[Exception], None],
        on_outcomes: Callable[[Sequence[Outcome]], None] = lambda _: None,
        commit_bytes: int = DEFAULT_COMMIT_BYTES,
    ) -> None:
        """The callbacks run on the event loop and must not raise.

        `after_commit` is called once for each transaction, when all its outcomes are settled;
        `on_failure` once in a lifetime, when the first `Failed` has been settled; `on_bug` with
        what a `settle` or `after_commit` raised, which keeps no other from being settled;
        `on_outcomes` with what became of each transaction.
        """
        self._transact = transact
        self._executor = executor
        self._after_commit = after_commit
        self._on_failure = on_failure
        self._on_bug = on_bug
        self._on_outcomes = on_outcomes
        self._commit_bytes = commit_bytes
        self._queue: deque[_Waiting] = deque()
        self._summoned = False
        self._portion = 0
        self._portion_bytes = 0
        self._failed = False

    def adopt(self, commit_bytes: int) -> None:
        """Cut the queue by `commit_bytes` from the next operation on."""
        self._commit_bytes = commit_bytes

    def submit(self, operation: Operation, settle: Settle) -> None:
        """See `storage.log.Log.submit`.

        Raises:
            ValueError: the operation contradicts itself; nothing was queued.
        """
        check(operation)
        is_cut = self._cut(_size(operation))
        self._queue.append(_Waiting(self._portion, operation, settle))
        if is_cut or not self._summoned:
            self._summoned = True
            self._executor.submit(self._job, self._settle)

    def _cut(self, size: int) -> bool:
        """Count `size` bytes into the portion, or begin the next one with them."""
        is_cut = self._portion_bytes > 0 and self._portion_bytes + size > self._commit_bytes
        if is_cut:
            self._portion += 1
            self._portion_bytes = 0
        self._portion_bytes += size
        return is_cut

    # ── on the storage thread ────────────────────────────────────────────────────────────────

    def _job(self) -> _Settled:
        self._summoned = False
        queue = self._queue
        taken: list[_Waiting] = []
        while queue and (not taken or queue[0].portion == taken[0].portion):
            taken.append(queue.popleft())
        if not taken:
            return _Settled((), ())
        return _Settled(taken, self._transact([one.operation for one in taken]))

    # ── on the event loop ────────────────────────────────────────────────────────────────────

    def _settle(self, settled: _Settled) -> None:
        if not settled.waiting:
            return
        failure: Exception | None = None
        for waiting, outcome in zip(settled.waiting, settled.outcomes, strict=True):
            if isinstance(outcome, Failed):
                failure = outcome.error
            try:
                waiting.settle(outcome)
            except Exception as bug:  # noqa: BLE001 - the others must have their outcomes
                self._on_bug(bug)
        try:
            self._after_commit()
        except Exception as bug:  # noqa: BLE001 - as above, and a failure must be told
            self._on_bug(bug)
        self._on_outcomes(settled.outcomes)
        if failure is not None and not self._failed:
            self._failed = True
            self._on_failure(failure)


def check(operation: Operation) -> None:
    """Stop a caller's mistake at the caller, before it can reach the disk.

    Raises:
        ValueError: numbers that do not follow on, a key twice, or someone who does not take part.
    """
    match operation:
        case Append(conversation, last_seq, records):
            participants = conversation.low, conversation.high
            keys = set()
            for seq, record in enumerate(records, last_seq + 1):
                if record.server_seq != seq or record.sender not in participants:
                    raise ValueError("a record out of sequence, or of a stranger")
                if len(record.chain) != 32 or len(record.payload_digest) != 32:
                    raise ValueError("a chain or digest that is not 32 bytes")
                keys.add((record.sender, record.idempotency_key))
            if not records or len(keys) != len(records):
                raise ValueError("an append without records, or with a key twice")
        case MarkRead(conversation, reader) if reader not in conversation[1:]:
            raise ValueError("a reader who is a stranger to the conversation")


def _size(operation: Operation) -> int:
    if isinstance(operation, Append):
        return sum(len(record.recorded) for record in operation.records)
    return SMALL_OPERATION_BYTES
