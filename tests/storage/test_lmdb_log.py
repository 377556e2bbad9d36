"""The embedded log from above its seam: pages, read states, waiting and being cancelled."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import lmdb
import pytest
import trio
import trio.testing

from ksmp.types import GlobalInboxSeq, UserId
from storage.environment import Environment
from storage.errors import NoSpaceError, StorageError, StoreCorruptError
from storage.keys import pack_inbox_state, pack_number, pack_pair
from storage.lmdb_log import LmdbLog
from storage.log import (
    Appended,
    ConversationHead,
    Failed,
    Full,
    Outcome,
    ReadHead,
    ReadState,
)
from tests.storage.world import (
    EPOCH,
    PLENTY,
    InlineExecutor,
    Sent,
    SteppedExecutor,
    ThreadExecutor,
    append,
    base,
    conversation,
    fold,
    head_after,
    mark,
    opened,
    writer,
)

KEY = conversation("ann", "bob")
OTHER = conversation("ann", "carl")
ANN, BOB, CARL = UserId("ann"), UserId("bob"), UserId("carl")
FAR = GlobalInboxSeq(2**53 - 1)


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[Environment]:
    with opened(tmp_path / "store") as environment:
        yield environment


def seq(number: int) -> GlobalInboxSeq:
    return GlobalInboxSeq(number)


def log_on(
    environment: Environment, *, writing=None, reading=None, folding=None, on_failure=None
) -> LmdbLog:
    def fail(error: Exception) -> None:
        raise AssertionError from error

    return LmdbLog(
        environment,
        writing=writing or InlineExecutor(),
        reading=reading or InlineExecutor(),
        folding=folding or InlineExecutor(),
        free_bytes=lambda: PLENTY,
        after_commit=lambda: None,
        on_failure=on_failure or fail,
        on_bug=fail,
    )


def store(environment: Environment, count: int, size: int = 100) -> None:
    sends = [Sent("ann", f"k{n}", bytes(size)) for n in range(count)]
    (outcome,) = writer(environment).transact([append(KEY, base(KEY), sends)])
    assert isinstance(outcome, Appended)


def test_log_has_the_epoch_of_its_store(environment: Environment) -> None:
    assert log_on(environment).epoch == EPOCH


# ── pages ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.trio
async def test_page_has_what_lies_after_the_cursor_up_to_the_end(environment: Environment) -> None:
    store(environment, 9)

    page = await log_on(environment).page(BOB, seq(3), seq(6), 10**6)

    assert [row[:2] for row in page.rows] == [(4, 3), (5, 4), (6, 5)]
    assert page.truncated_through == 0


@pytest.mark.trio
async def test_pages_from_each_cursor_join_without_gap(environment: Environment) -> None:
    store(environment, 50, size=1_000)
    log = log_on(environment)
    found: list[int] = []
    while (page := await log.page(BOB, seq(len(found)), FAR, 4_000)).rows:
        assert len(page.rows) <= 4
        found += [row.global_inbox_seq for row in page.rows]

    assert found == list(range(1, 51))


@pytest.mark.trio
async def test_first_record_comes_whatever_its_size(environment: Environment) -> None:
    store(environment, 2, size=50_000)

    page = await log_on(environment).page(BOB, seq(0), FAR, 10)

    assert [row.global_inbox_seq for row in page.rows] == [1]


@pytest.mark.trio
@pytest.mark.parametrize(("user", "after"), [("bob", 9), ("carl", 0), ("nobody", 0)])
async def test_page_is_empty_at_the_head_and_for_strangers(
    environment: Environment, user: str, after: int
) -> None:
    store(environment, 9)

    page = await log_on(environment).page(UserId(user), seq(after), FAR, 10**6)

    assert page.rows in ((), [])


@pytest.mark.trio
async def test_cursor_below_what_retention_removed_is_told_so(environment: Environment) -> None:
    store(environment, 9)
    fold(environment)
    transaction = environment.begin()
    inboxes, inbox = environment.tables[b"inboxes"], environment.tables[b"inbox"]
    for number in range(1, 5):
        transaction.delete(pack_pair(2, number), db=inbox)
    transaction.put(pack_number(2), pack_inbox_state(9, 4, 0, 0), db=inboxes)
    transaction.commit()

    page = await log_on(environment).page(BOB, seq(1), FAR, 10**6)

    assert page.truncated_through == 4
    assert page.rows[0][:2] == (5, 4)


@pytest.mark.trio
async def test_damaged_store_is_an_error_for_the_asker(environment: Environment) -> None:
    store(environment, 3)
    fold(environment)
    transaction = environment.begin()
    transaction.delete(pack_pair(1, 2), db=environment.tables[b"log"])
    transaction.commit()

    failures: list[Exception] = []

    with pytest.raises(StoreCorruptError, match="not there") as raised:
        await log_on(environment, on_failure=failures.append).page(BOB, seq(0), FAR, 10**6)
    assert failures == [raised.value]


def damage(environment: Environment, table: bytes, *keys: bytes) -> None:
    """Take rows out, as no operation does."""
    fold(environment)
    transaction = environment.begin()
    for key in keys:
        assert transaction.delete(key, db=environment.tables[table])
    transaction.commit()


@pytest.mark.trio
@pytest.mark.parametrize("missing", [(1,), (3,), (5,), (1, 2, 3, 4, 5), (4, 5)])
async def test_records_that_are_due_and_not_there_are_damage_and_never_passed_over(
    environment: Environment, missing: tuple[int, ...]
) -> None:
    store(environment, 5)
    damage(environment, b"inbox", *(pack_pair(2, number) for number in missing))
    failures: list[Exception] = []
    log = log_on(environment, on_failure=failures.append)

    with pytest.raises(StoreCorruptError, match="lacks a record") as raised:
        await log.page(BOB, seq(0), seq(5), 10**6)
    assert failures == [raised.value]


@pytest.mark.trio
async def test_pages_that_ask_for_nothing_that_is_missing_are_as_ever(
    environment: Environment,
) -> None:
    store(environment, 5)
    damage(environment, b"inbox", pack_pair(2, 3))
    log = log_on(environment)

    before = await log.page(BOB, seq(0), seq(2), 10**6)
    behind = await log.page(BOB, seq(3), FAR, 10**6)

    assert [row[:2] for row in before.rows] == [(1, 0), (2, 1)]
    assert [row[:2] for row in behind.rows] == [(4, 3), (5, 4)]


@pytest.mark.trio
async def test_user_without_an_inbox_head_is_damage(environment: Environment) -> None:
    store(environment, 1)
    damage(environment, b"inboxes", pack_number(2))
    failures: list[Exception] = []

    with pytest.raises(StoreCorruptError, match="no inbox"):
        await log_on(environment, on_failure=failures.append).page(BOB, seq(0), seq(1), 10**6)
    assert len(failures) == 1


# ── the journal ──────────────────────────────────────────────────────────────────────────────


def far_behind(environment: Environment, log: LmdbLog) -> tuple[list[Outcome], ConversationHead]:
    """Append until commits wait for the checkpoint; the outcomes, of which the last lacks."""
    outcomes: list[Outcome] = []
    head = base(KEY)
    for submitted in range(1, 100):
        new = append(KEY, head, [Sent("ann", f"k{submitted}")])
        log.submit(new, outcomes.append)
        if len(outcomes) < submitted:
            return outcomes, head
        head = head_after(new)
    raise AssertionError("commits never waited")


def test_commits_wait_for_a_checkpoint_that_is_far_behind_and_go_on_with_it(
    tmp_path: Path,
) -> None:
    folding = SteppedExecutor()
    with opened(tmp_path / "store", segment_bytes=1_024) as environment:
        log = log_on(environment, folding=folding)
        outcomes, head = far_behind(environment, log)
        assert all(isinstance(outcome, Appended) for outcome in outcomes)
        waiting = len(outcomes)

        folding.finish()

        assert len(outcomes) == waiting + 1
        assert isinstance(outcomes[-1], Appended)
        log.submit(ReadHead(KEY), outcomes.append)
        heads = [outcome for outcome in outcomes if isinstance(outcome, ConversationHead)]
        assert [found.server_seq for found in heads] == [head.server_seq + 1]


@pytest.mark.trio
@pytest.mark.parametrize("error", [NoSpaceError(), lmdb.Error("planted")])
async def test_commits_do_not_wait_for_a_checkpoint_that_cannot_go_on(  # noqa: ASYNC124 - Trio tells the time of what is noted
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    folding = SteppedExecutor()
    failures: list[Exception] = []
    with opened(tmp_path / "store", segment_bytes=1_024) as environment:
        log = log_on(environment, folding=folding, on_failure=failures.append)
        outcomes, _ = far_behind(environment, log)
        waiting = len(outcomes)

        def broken(_: int) -> None:
            raise error

        monkeypatch.setattr(environment, "reserve", broken)
        folding.run()
        folding.deliver()

        is_full = isinstance(error, NoSpaceError)
        assert [type(outcome) for outcome in outcomes[waiting:]] == [Full if is_full else Failed]
        assert bool(failures) is not is_full


# ── waiting ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.trio
async def test_cancelled_reader_leaves_and_its_late_result_harms_nobody(
    environment: Environment,
) -> None:
    store(environment, 1)
    executor = SteppedExecutor()
    log = log_on(environment, reading=executor)
    with trio.move_on_after(0) as scope:
        await log.page(BOB, seq(0), FAR, 10)
    assert scope.cancelled_caught

    async with trio.open_nursery() as nursery:
        results: list[object] = []

        async def read() -> None:
            results.append(await log.page(BOB, seq(0), FAR, 10))

        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        executor.finish()

    assert len(results) == 1


@pytest.mark.trio
async def test_appends_and_reads_meet_on_real_threads(environment: Environment) -> None:
    writing, reading = ThreadExecutor(), ThreadExecutor()
    log = log_on(environment, writing=writing, reading=reading)
    head = base(KEY)
    settled: list[Outcome] = []
    try:
        for n in range(100):
            done = trio.Event()
            new = append(KEY, head, [Sent("ann", f"k{n}", bytes(30_000))])
            head = head_after(new)

            def settle(outcome: Outcome, done: trio.Event = done) -> None:
                settled.append(outcome)
                done.set()

            log.submit(new, settle)
            if n % 10 == 9:
                await done.wait()
                page = await log.page(BOB, seq(n), FAR, 10**6)
                assert [row.global_inbox_seq for row in page.rows] == [n + 1]
    finally:
        writing.close()
        reading.close()

    assert all(isinstance(outcome, Appended) for outcome in settled)


# ── read states ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.trio
async def test_read_states_are_those_stored_at_the_cursor_or_later(
    environment: Environment,
) -> None:
    first = append(KEY, base(KEY), [Sent("ann", "k1"), Sent("ann", "k2")])
    second = append(OTHER, base(OTHER), [Sent("carl", "k3")])
    writer(environment).transact(
        [first, mark(KEY, "bob", 1, at=10), second, mark(OTHER, "ann", 1, at=11)]
    )
    log = log_on(environment)

    old = ReadState(KEY, BOB, (1, 10))  # type: ignore[arg-type]
    new = ReadState(OTHER, ANN, (1, 11))  # type: ignore[arg-type]
    assert [*(await log.read_states(ANN, seq(0), None, 9)).states] == [old, new]
    assert [*(await log.read_states(ANN, seq(2), None, 9)).states] == [old, new]
    assert [*(await log.read_states(ANN, seq(3), None, 9)).states] == [new]
    assert [*(await log.read_states(BOB, seq(2), None, 9)).states] == [old]
    assert [*(await log.read_states(CARL, seq(1), None, 9)).states] == [new]
    assert [*(await log.read_states(CARL, seq(2), None, 9)).states] == []


@pytest.mark.trio
async def test_private_position_is_seen_by_the_reader_only(environment: Environment) -> None:
    new = append(KEY, base(KEY), [Sent("ann", "k1"), Sent("ann", "k2")])
    writer(environment).transact(
        [new, mark(KEY, "bob", 1, at=10), mark(KEY, "bob", 2, at=11, private=True)]
    )
    log = log_on(environment)

    (seen_by_bob,) = (await log.read_states(BOB, seq(0), None, 9)).states
    (seen_by_ann,) = (await log.read_states(ANN, seq(0), None, 9)).states

    assert seen_by_bob.position == (2, 11)
    assert seen_by_ann.position == (1, 10)


@pytest.mark.trio
async def test_read_states_continue_where_a_page_ended(environment: Environment) -> None:
    operations: list = []
    keys = [conversation("ann", f"user{n}") for n in range(7)]
    for key in keys:
        operations.append(append(key, base(key), [Sent("ann", "k")]))
        operations.append(mark(key, "ann", 1))
    writer(environment).transact(operations)
    log = log_on(environment)

    found: list[ReadState] = []
    after: bytes | None = None
    sizes = []
    while True:
        page = await log.read_states(ANN, seq(0), after, 3)
        found += page.states
        sizes.append(len(page.states))
        after = page.next
        if after is None:
            break

    assert sizes == [3, 3, 1]
    assert [state.conversation for state in found] == keys


@pytest.mark.trio
async def test_store_that_fails_to_read_is_an_error_for_the_asker(tmp_path: Path) -> None:
    with opened(tmp_path / "store") as environment:
        store(environment, 1)
    failures: list[Exception] = []

    with pytest.raises(StorageError) as raised:
        await log_on(environment, on_failure=failures.append).read_states(BOB, seq(0), None, 1)
    assert failures == [raised.value]
