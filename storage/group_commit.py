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
portion submits a job of its own, so the storage thread need not wait for the loop between them; and
whatever is left when the last job is settled gets another.

What is different on a slow disk. Going straight on costs whoever waits for an outcome before
submitting again, as a conversation does: by the time the loop has settled it, the next transaction
has begun without it, and it waits for two more. Where syncs are quick, nobody notices. Behind a
transaction that took long, no job is submitted before the loop has settled it and come round a few
times, so that what the outcomes gave rise to is taken along. And `is_slow_under_way` tells who asks
that a submission now would only wait in the queue, where nothing can join it.

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

SLOW_SECONDS: Final = 0.003
"""A transaction that takes longer is waited for: a few rounds of the loop are little beside it."""

ROUNDS: Final = 3
"""Times that the loop comes round: who waits for an outcome is woken in the first, and may submit
in the second; the order of tasks within a round is random."""

Transact = Callable[[Sequence[Operation]], Sequence[Outcome]]
"""One synced transaction: an outcome per operation, in order. Runs on the storage thread."""


class _Waiting(NamedTuple):
    portion: int
    operation: Operation
    settle: Settle


class _Settled(NamedTuple):
    waiting: Sequence[_Waiting]
    outcomes: Sequence[Outcome]
    seconds: float


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
        clock: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """The callbacks run on the event loop and must not raise.

        `after_commit` is called once for each transaction, when all its outcomes are settled;
        `on_failure` once in a lifetime, when the first `Failed` has been settled; `on_bug` with
        what a `settle` or `after_commit` raised, which keeps no other from being settled;
        `on_outcomes` with what became of each transaction, last of all. `clock` is read on the
        storage thread, in seconds; without one every transaction is quick.
        """
        self._transact = transact
        self._executor = executor
        self._after_commit = after_commit
        self._on_failure = on_failure
        self._on_bug = on_bug
        self._on_outcomes = on_outcomes
        self._commit_bytes = commit_bytes
        self._clock = clock
        self._queue: deque[_Waiting] = deque()
        self._summoned = False
        self._jobs = 0  # submitted, and not yet settled
        self._is_slow = False  # the latest transaction was
        self._is_coming_round = False
        self._portion = 0
        self._portion_bytes = 0
        self._failed = False
        self._is_held = False

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
        if self._is_slow and (self._jobs or self._is_coming_round):
            return  # the job that comes after will take it
        if is_cut or not self._summoned:
            self._summon()

    def hold(self, is_held: bool) -> None:
        """Run no further transaction until told otherwise; what is submitted waits."""
        was_held, self._is_held = self._is_held, is_held
        if was_held and not is_held and self._queue and not self._jobs:
            self._summon()

    @property
    def is_slow_under_way(self) -> bool:
        """Whether the disk is slow, and busy with what nothing submitted now can be part of."""
        return self._is_slow and self._jobs > 0

    def _summon(self) -> None:
        if self._is_held:
            return
        self._summoned = True
        self._jobs += 1
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
            return _Settled((), (), 0.0)
        began = self._clock()
        outcomes = self._transact([one.operation for one in taken])
        return _Settled(taken, outcomes, self._clock() - began)

    # ── on the event loop ────────────────────────────────────────────────────────────────────

    def _settle(self, settled: _Settled) -> None:
        self._jobs -= 1
        if settled.waiting:
            self._is_slow = settled.seconds > SLOW_SECONDS
            self._is_coming_round = self._is_slow and not self._jobs
            self._tell(settled)
        if self._is_coming_round and settled.waiting:
            self._come_round(ROUNDS)
        elif self._queue and not self._jobs and not self._is_coming_round:
            self._summon()

    def _come_round(self, rounds: int) -> None:
        """Let the loop run whoever is ready; a job that does nothing brings us back to it."""
        if rounds:
            self._executor.submit(_nothing, lambda _: self._come_round(rounds - 1))
            return
        self._is_coming_round = False
        if self._queue:
            self._summon()

    def _tell(self, settled: _Settled) -> None:
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


def _nothing() -> None:
    pass


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
