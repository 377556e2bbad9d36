"""The group commit: nothing waits for ever, nothing overtakes, nothing is settled twice."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

import pytest
import trio

from ksmp.types import UserId
from storage.group_commit import ROUNDS, GroupCommit
from storage.log import Appended, Failed, OpenInbox, Operation, Outcome, ReadHead
from tests.storage.world import (
    InlineExecutor,
    Sent,
    SteppedExecutor,
    ThreadExecutor,
    append,
    base,
    conversation,
    head_after,
    mark,
)

KEY = conversation("ann", "bob")


class Recorded:
    """A group commit whose every callback is written down."""

    def __init__(self, executor, commit_bytes: int = 1 << 20, *, seconds: float = 0.0) -> None:
        """A transaction takes so many `seconds`."""
        self.batches: list[list[Operation]] = []
        self.events: list[Any] = []
        self.failures: list[Exception] = []
        self.bugs: list[Exception] = []
        self.failing: Exception | None = None
        self.group_commit = GroupCommit(
            self.transact,
            executor,
            after_commit=lambda: self.events.append("committed"),
            on_failure=self.failures.append,
            on_bug=self.bugs.append,
            commit_bytes=commit_bytes,
            clock=lambda: len(self.batches) * seconds,
        )

    def transact(self, operations: Sequence[Operation]) -> Sequence[Outcome]:
        self.batches.append(list(operations))
        if self.failing:
            return [Failed(self.failing)] * len(operations)
        return [Appended({})] * len(operations)

    def submit(self, name: str) -> None:
        def settle(outcome: Outcome) -> None:
            self.events.append((name, type(outcome)))

        self.group_commit.submit(OpenInbox(UserId(name)), settle)


def names(batch: list[Operation]) -> list[str]:
    return [operation.user for operation in batch if isinstance(operation, OpenInbox)]


def test_what_gathers_during_a_transaction_is_the_next_one() -> None:
    executor = SteppedExecutor()
    log = Recorded(executor)
    log.submit("a")
    executor.run()
    log.submit("b")
    log.submit("c")

    executor.run()

    assert [names(batch) for batch in log.batches] == [["a"], ["b", "c"]]
    assert log.events == []


def test_storage_goes_on_although_the_loop_has_settled_nothing() -> None:
    executor = SteppedExecutor()
    log = Recorded(executor)
    for name in "abc":
        log.submit(name)
        executor.run()

    assert [names(batch) for batch in log.batches] == [["a"], ["b"], ["c"]]
    executor.finish()
    assert log.events == [
        ("a", Appended),
        "committed",
        ("b", Appended),
        "committed",
        ("c", Appended),
        "committed",
    ]


SLOW: Final = 1.0


def after_a_slow_one(executor: SteppedExecutor) -> Recorded:
    """One slow transaction is settled, and the loop has come round."""
    log = Recorded(executor, seconds=SLOW)
    log.submit("slow")
    executor.finish()
    return log


def test_behind_a_slow_transaction_the_next_takes_what_its_outcomes_give_rise_to() -> None:
    executor = SteppedExecutor()
    log = after_a_slow_one(executor)
    log.submit("a")
    executor.run()
    log.submit("b")
    assert not executor.jobs, "the storage thread would go straight on"

    executor.deliver()
    log.submit("c, who has waited for the outcome of a")
    executor.finish()

    assert [names(batch) for batch in log.batches[1:]] == [
        ["a"],
        ["b", "c, who has waited for the outcome of a"],
    ]


def test_behind_a_slow_transaction_nobody_who_is_woken_by_it_comes_too_late() -> None:
    executor = SteppedExecutor()
    log = after_a_slow_one(executor)
    log.submit("a")
    executor.run()
    executor.deliver()
    for _ in range(ROUNDS - 1):  # each ends in another turn of the loop
        executor.run()
        executor.deliver()
    log.submit("woken")
    executor.finish()

    assert names(log.batches[-1]) == ["woken"]
    assert not executor.jobs
    assert not executor.results


def test_a_slow_disk_that_has_nothing_to_do_begins_at_once() -> None:
    executor = SteppedExecutor()
    log = after_a_slow_one(executor)

    log.submit("a")

    assert len(executor.jobs) == 1


def test_what_a_slow_disk_left_over_is_taken_when_it_has_become_quick() -> None:
    executor = SteppedExecutor()
    log = Recorded(executor, commit_bytes=128, seconds=SLOW)
    log.submit("slow")
    executor.finish()
    log.group_commit._clock = lambda: 0.0
    for n in range(9):
        log.submit(str(n))
    executor.finish()

    assert [event[0] for event in log.events if event != "committed"] == ["slow", *"012345678"]


def test_who_asks_is_told_when_a_slow_transaction_would_leave_them_waiting() -> None:
    executor = SteppedExecutor()
    log = Recorded(executor, seconds=SLOW)
    told = [log.group_commit.is_slow_under_way]
    log.submit("not yet known to be slow")
    told.append(log.group_commit.is_slow_under_way)
    executor.finish()
    told.append(log.group_commit.is_slow_under_way)
    log.submit("slow")
    told.append(log.group_commit.is_slow_under_way)
    executor.run()
    executor.deliver()
    told.append(log.group_commit.is_slow_under_way)  # the loop comes round: now is the moment

    assert told == [False, False, False, True, False]


def test_one_job_is_submitted_however_many_operations_wait() -> None:
    executor = SteppedExecutor()
    log = Recorded(executor)

    for name in "abcdef":
        log.submit(name)

    assert len(executor.jobs) == 1


def test_transaction_takes_no_more_than_its_bytes_and_leaves_nothing_behind() -> None:
    executor = SteppedExecutor()
    log = Recorded(executor, commit_bytes=3_000)
    head = base(KEY)
    for n in range(9):
        new = append(KEY, head, [Sent("ann", f"k{n}", bytes(1_000))])
        head = head_after(new)
        log.group_commit.submit(new, lambda outcome: None)

    executor.finish()

    assert [len(batch) for batch in log.batches] == [2, 2, 2, 2, 1]


def test_append_larger_than_a_transaction_goes_alone() -> None:
    executor = SteppedExecutor()
    log = Recorded(executor, commit_bytes=3_000)
    log.submit("before")
    large = append(KEY, base(KEY), [Sent("ann", "k", bytes(9_000))])
    log.group_commit.submit(large, lambda outcome: None)
    log.submit("after")

    executor.finish()

    assert [len(batch) for batch in log.batches] == [1, 1, 1]


@pytest.mark.parametrize("seconds", [0.0, 1.0])
@pytest.mark.parametrize("settled_after", [1, 2, 9])
def test_job_that_starts_between_two_portions_leaves_nobody_waiting(
    seconds: float, settled_after: int
) -> None:
    """The wake-up race: at every point where a job may start, everything is settled in the end."""
    for start in range(9):
        executor = SteppedExecutor()
        log = Recorded(executor, commit_bytes=128, seconds=seconds)
        for n in range(9):
            log.submit(str(n))
            if n >= start and executor.jobs:
                executor.run()
            if n % settled_after == 0 and executor.results:
                executor.deliver()

        executor.finish()

        assert [event[0] for event in log.events if event != "committed"] == list("012345678")


def test_settle_may_submit_again() -> None:
    log = Recorded(InlineExecutor())

    log.group_commit.submit(ReadHead(KEY), lambda outcome: log.submit("again"))

    assert ("again", Appended) in log.events


def test_settle_that_raises_keeps_no_other_from_its_outcome() -> None:
    executor = SteppedExecutor()
    log = Recorded(executor)
    bug = RuntimeError()

    def raising(outcome: Outcome) -> None:
        raise bug

    log.submit("a")
    log.group_commit.submit(ReadHead(KEY), raising)
    log.submit("b")
    executor.finish()

    assert log.events == [("a", Appended), ("b", Appended), "committed"]
    assert log.bugs == [bug]


def test_failure_is_told_once_after_every_asker_knows() -> None:
    executor = SteppedExecutor()
    log = Recorded(executor)
    log.failing = OSError(5, "I/O error")
    for name in "abc":
        log.submit(name)
        executor.run()

    executor.finish()

    assert [event for event in log.events if event != "committed"] == [
        ("a", Failed),
        ("b", Failed),
        ("c", Failed),
    ]
    assert log.failures == [log.failing]


@pytest.mark.parametrize(
    "operation",
    [
        append(KEY, base(KEY), []),
        append(KEY, base(KEY), [Sent("ann", "k"), Sent("ann", "k")]),
        append(KEY, base(KEY), [Sent("carl", "k")]),
        mark(KEY, "carl", 1),
    ],
)
def test_operation_that_contradicts_itself_stops_at_its_caller(operation: Operation) -> None:
    executor = SteppedExecutor()

    with pytest.raises(ValueError, match=r"stranger|append"):
        Recorded(executor).group_commit.submit(operation, lambda outcome: None)

    assert not executor.jobs


@pytest.mark.trio
async def test_on_a_real_thread_each_operation_is_settled_once_and_in_order() -> None:
    executor = ThreadExecutor()
    loop_thread = threading.get_ident()
    settled: list[int] = []
    threads: set[int] = set()
    everything = trio.Event()
    log = Recorded(executor, commit_bytes=1_000)

    def submit(n: int) -> None:
        def settle(outcome: Outcome) -> None:
            threads.add(threading.get_ident())
            settled.append(n)
            if len(settled) == 3_000:
                everything.set()

        log.group_commit.submit(ReadHead(KEY), settle)

    try:
        for n in range(3_000):
            submit(n)
            if n % 7 == 0:
                await trio.lowlevel.checkpoint()
        with trio.fail_after(10):
            await everything.wait()
    finally:
        executor.close()

    assert settled == list(range(3_000))
    assert threads == {loop_thread}
    assert sum(map(len, log.batches)) == 3_000


class WatchedQueue(deque):
    """Tells when it is first looked at and found empty: the moment a wake-up could get lost."""

    on_empty: Callable[[], None] | None = None

    def __len__(self) -> int:
        length = super().__len__()
        if length == 0 and self.on_empty is not None:
            on_empty, self.on_empty = self.on_empty, None
            on_empty()
        return length


def test_operation_that_comes_as_a_job_finds_the_queue_empty_is_not_forgotten() -> None:
    executor = SteppedExecutor()
    log = Recorded(executor)
    queue = WatchedQueue()
    log.group_commit._queue = queue
    log.submit("a")
    queue.on_empty = lambda: log.submit("late")

    executor.finish()

    assert ("late", Appended) in log.events
