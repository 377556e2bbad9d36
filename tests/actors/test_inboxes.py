"""An open inbox knows every commit since it opened, and wakes whom each of them touches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors.inboxes import Inboxes, InboxUnavailableError
from actors.letters import Letter, ReadLetter, SendLetter
from actors.limits import Limits
from ksmp.events import AckRead, Read, ServerEvent
from ksmp.types import ConversationId, DeviceId, GlobalInboxSeq, ServerSeq, UserId
from storage.log import InboxPlace, NewRecord
from tests.actors.memory_log import MemoryLog
from tests.actors.world import (
    ALICE,
    BOB,
    TALK,
    Client,
    World,
    all_answered,
    envelope,
    send_letter,
)


def to_herself(reply_to: FakeReader) -> SendLetter:
    sealed = envelope(sender=ALICE, recipient=ALICE, conversation="notes")
    return SendLetter(sealed, reply_to, 100)


@dataclass(eq=False)
class FakeReader:
    """Implements `actors.inboxes.Reader`; notes what it is told."""

    name: str
    is_resumed: bool = True
    deliveries: int = 0
    reads: list[int] = field(default_factory=list)
    answers: list[ServerEvent] = field(default_factory=list)
    was_replaced: bool = False
    takes_offers: bool = False
    offers: int = 0

    @property
    def device(self) -> DeviceId:
        return DeviceId(self.name)

    def settle(self, letter: Letter, answer: ServerEvent) -> None:
        self.answers.append(answer)

    def deliver(self) -> None:
        self.deliveries += 1

    def fail(self, bug: BaseException) -> None:
        raise bug

    def offer(self, places: Sequence[InboxPlace], records: Sequence[NewRecord]) -> bool:
        assert len(places) == len(records)
        self.offers += len(places)
        return self.takes_offers

    def tell_read(self, read: Read) -> None:
        self.reads.append(read.server_seq)

    def replaced(self) -> None:
        self.was_replaced = True


# ── opening and closing ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("enters_first", [True, False])
async def test_no_record_is_lost_between_an_inboxs_head_and_its_first_publication(
    autojump_clock: MockClock, enters_first: bool
) -> None:
    """Enter at every step of a stream of commits, and in one transaction with them."""
    heads_at_opening = set()
    for steps in range(20):
        world, client = World(), Client()
        letters: list[Letter] = [send_letter(client, f"key-{n}") for n in range(20)]
        async with trio.open_nursery() as nursery:
            await world.start(nursery)

            async def enter(steps: int = steps, world: World = world) -> None:
                for _ in range(0 if enters_first else steps):
                    await trio.lowlevel.checkpoint()
                inbox = await world.inboxes.enter(BOB)
                heads_at_opening.add(inbox.head)

            nursery.start_soon(enter)
            for _ in range(steps if enters_first else 0):
                await trio.lowlevel.checkpoint()
            for letter in letters:
                world.route(letter)
                await trio.lowlevel.checkpoint()
            await all_answered(letters)
            head = world.inboxes._open[BOB].head
            nursery.cancel_scope.cancel()

        assert head == 20 == world.log.inbox_head(BOB), f"entered after {steps} steps"

    assert enters_first or len(heads_at_opening) > 3, "many places in the stream were tried"


async def test_an_opening_and_an_append_of_one_transaction_are_both_published(
    autojump_clock: MockClock,
) -> None:
    world, client = World(), Client()
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        world.route(send_letter(client, "wakes the conversation"))
        await wait_all_tasks_blocked()
        world.log.is_held = True
        nursery.start_soon(world.inboxes.enter, BOB)
        await wait_all_tasks_blocked()
        world.route(send_letter(client))
        await wait_all_tasks_blocked()
        world.log.release()
        await wait_all_tasks_blocked()
        head = world.inboxes._open[BOB].head
        nursery.cancel_scope.cancel()

    assert head == 2


async def test_the_last_to_leave_closes_and_the_next_to_enter_reads_the_head_anew(
    autojump_clock: MockClock,
) -> None:
    world, client = World(), Client()
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        first = await world.inboxes.enter(BOB)
        second = await world.inboxes.enter(BOB)
        assert first is second
        world.inboxes.leave(first)
        assert BOB in world.inboxes._open
        world.inboxes.leave(second)
        assert world.inboxes._open == {}
        world.route(letter := send_letter(client))
        await all_answered([letter])
        third = await world.inboxes.enter(BOB)
        nursery.cancel_scope.cancel()

    assert third is not first
    assert third.head == 1


@pytest.mark.parametrize("opens_meanwhile", [True, False])
async def test_whoever_gives_up_entering_is_no_guest(opens_meanwhile: bool) -> None:
    world = World()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.inboxes.enter, BOB)
        await wait_all_tasks_blocked()
        operation, settle = world.log._waiting.popleft()
        nursery.cancel_scope.cancel()
        if opens_meanwhile:  # the task has been cancelled, and has had no turn since
            settle(world.log.commit(operation))
    if not opens_meanwhile:
        settle(world.log.commit(operation))

    assert world.inboxes._open == {}


async def test_a_failed_store_opens_no_inbox(autojump_clock: MockClock) -> None:
    world = World()
    world.log.failure = OSError("the disk is gone")
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        with pytest.raises(InboxUnavailableError):
            await world.inboxes.enter(BOB)
        nursery.cancel_scope.cancel()

    assert world.inboxes._open == {}


async def test_what_retention_removed_is_known_from_the_opening_on(
    autojump_clock: MockClock,
) -> None:
    world = World()
    world.log.truncated[BOB] = 4
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        inbox = await world.inboxes.enter(BOB)
        nursery.cancel_scope.cancel()

    assert inbox.truncated_through == GlobalInboxSeq(4)


# ── readers ──────────────────────────────────────────────────────────────────────────────────


async def test_a_newer_reader_of_a_device_takes_the_place_of_the_older_for_good(
    autojump_clock: MockClock,
) -> None:
    world, client = World(), Client()
    older, newer, other = FakeReader("phone"), FakeReader("phone"), FakeReader("tablet")
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        inbox = await world.inboxes.enter(BOB)
        for reader in (older, other, newer):
            world.inboxes.admit(inbox, reader)
        world.inboxes.dismiss(inbox, older)  # as the older one does when it has closed
        world.route(send_letter(client))
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    assert [reader.was_replaced for reader in (older, newer, other)] == [True, False, False]
    assert [reader.deliveries for reader in (older, newer, other)] == [0, 1, 1]


async def test_a_commit_wakes_each_resumed_reader_of_both_sides_once(
    autojump_clock: MockClock,
) -> None:
    world, client = World(), Client()
    hers = [FakeReader("a"), FakeReader("b", is_resumed=False)]
    his = [FakeReader("c"), FakeReader("d"), FakeReader("gone")]
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        for reader in hers:
            world.inboxes.admit(await world.inboxes.enter(ALICE), reader)
        inbox = await world.inboxes.enter(BOB)
        for reader in his:
            world.inboxes.admit(inbox, reader)
        world.inboxes.dismiss(inbox, his[2])
        world.log.is_held = True
        for n in range(10):
            world.route(send_letter(client, f"key-{n}"))
        world.log.release()
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    assert [reader.deliveries for reader in (*hers, *his)] == [1, 0, 1, 1, 0]


async def test_a_reader_dismissed_between_the_commit_and_the_waking_is_not_woken(
    autojump_clock: MockClock,
) -> None:
    world, client = World(), Client()
    reader = FakeReader("phone")
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        inbox = await world.inboxes.enter(BOB)
        world.inboxes.admit(inbox, reader)
        deliver = world.log.after_commit

        def dismiss_first() -> None:
            if inbox.head:
                world.inboxes.dismiss(inbox, reader)
            deliver()

        world.log.after_commit = dismiss_first
        world.route(send_letter(client))
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    assert reader.deliveries == 0


async def test_records_are_kept_at_hand_only_for_those_who_read_and_are_behind(
    autojump_clock: MockClock,
) -> None:
    world, client = World(), Client()
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        inbox = await world.inboxes.enter(BOB)
        world.inboxes.admit(inbox, FakeReader("silent", is_resumed=False))
        world.route(send_letter(client, "one"))
        await wait_all_tasks_blocked()
        keeps_up = FakeReader("phone", takes_offers=True)
        world.inboxes.admit(inbox, keeps_up)
        world.route(send_letter(client, "two"))
        await wait_all_tasks_blocked()
        world.inboxes.admit(inbox, FakeReader("slow"))
        world.route(send_letter(client, "three"))
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    assert keeps_up.offers == 2
    recent = world.inboxes.recent
    kept = [
        (user, cursor)
        for user in (ALICE, BOB)
        for cursor in range(4)
        if recent.after(user, GlobalInboxSeq(cursor)) is not None
    ]
    assert kept == [(BOB, 2)]
    assert inbox.head == 3


# ── read positions ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("private", "her_other", "his"),
    [(False, [2], [2]), (True, [2], [])],
    ids=["public", "private"],
)
async def test_a_read_is_told_to_whom_it_concerns_and_its_asker_is_answered_once(
    autojump_clock: MockClock, private: bool, her_other: list[int], his: list[int]
) -> None:
    world, client = World(), Client()
    asker, other, peer = FakeReader("asker"), FakeReader("other"), FakeReader("peer")
    silent = FakeReader("silent", is_resumed=False)
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        for user, readers in ((ALICE, (asker, other, silent)), (BOB, (peer,))):
            inbox = await world.inboxes.enter(user)
            for reader in readers:
                world.inboxes.admit(inbox, reader)
        world.route(send_letter(client, "one"), send_letter(client, "two"))
        await wait_all_tasks_blocked()
        ack = AckRead(TALK, BOB, ServerSeq(2), private)
        for _ in range(3):  # repeats are answered, and told to nobody
            world.route(ReadLetter(ack, ALICE, asker, 60))
            await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    assert [type(answer) for answer in asker.answers] == [Read] * 3
    assert (asker.reads, other.reads, peer.reads, silent.reads) == ([], her_other, his, [])


async def test_the_peer_sees_the_maximum_of_the_public_reads_only(
    autojump_clock: MockClock,
) -> None:
    world, client = World(), Client()
    asker, other, peer = FakeReader("asker"), FakeReader("other"), FakeReader("peer")
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        for user, readers in ((ALICE, (asker, other)), (BOB, (peer,))):
            inbox = await world.inboxes.enter(user)
            for reader in readers:
                world.inboxes.admit(inbox, reader)
        for n in range(5):
            world.route(send_letter(client, f"key-{n}"))
        await wait_all_tasks_blocked()
        for seq, private in ((1, False), (4, True), (3, False), (2, False), (5, False)):
            ack = AckRead(TALK, BOB, ServerSeq(seq), private)
            world.route(ReadLetter(ack, ALICE, asker, 60))
            await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    answers = [answer.server_seq for answer in asker.answers if isinstance(answer, Read)]
    assert answers == [1, 4, 4, 4, 5]
    assert other.reads == [1, 4, 5]
    assert peer.reads == [1, 3, 5]


async def test_reading_a_conversation_with_oneself_is_told_once_to_each_other_device(
    autojump_clock: MockClock,
) -> None:
    world = World()
    asker, other = FakeReader("asker"), FakeReader("other")
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        inbox = await world.inboxes.enter(ALICE)
        for reader in (asker, other):
            world.inboxes.admit(inbox, reader)
        world.route(to_herself(asker))
        await wait_all_tasks_blocked()
        ack = AckRead(ConversationId("notes"), ALICE, ServerSeq(1))
        world.route(ReadLetter(ack, ALICE, asker, 60))
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    assert len(asker.answers) == 2
    assert (asker.reads, other.reads) == ([], [1])
    assert inbox.head == 1


# ── rates ────────────────────────────────────────────────────────────────────────────────────


def test_a_users_rate_is_remembered_until_it_is_full_again_and_then_forgotten() -> None:
    inboxes = Inboxes(MemoryLog(), Limits(sends_per_second=1, sends_burst=10))
    spent = inboxes.allowance(ALICE, 0.0)
    for _ in range(10):
        spent.sends.take(0.0)
    for n in range(5_000):
        inboxes.allowance(UserId(f"user-{n}"), 1.0)
    remembered = inboxes.allowance(ALICE, 1.0)
    for n in range(5_000, 10_000):
        inboxes.allowance(UserId(f"user-{n}"), 11.0)

    assert remembered is spent
    assert len(inboxes._allowances) <= 1_002
    assert inboxes.allowance(ALICE, 11.0) is not spent


def test_how_far_a_user_went_beyond_the_rate_is_remembered_over_connections() -> None:
    inboxes = Inboxes(MemoryLog(), Limits(sends_per_second=1, sends_burst=10))
    while inboxes.allowance(ALICE, 0.0).refusals.take(0.0) == 0.0:
        pass
    for n in range(5_000):
        inboxes.allowance(UserId(f"user-{n}"), 5.0)

    again = inboxes.allowance(ALICE, 5.0).refusals
    assert [again.take(5.0) == 0.0 for _ in range(46)] == [True] * 45 + [False]


def test_while_no_rate_can_be_forgotten_nobody_looks_for_one_at_each_newcomer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sweeps = 0
    forget = Inboxes._forget_full_allowances

    def count(inboxes: Inboxes, now: float) -> None:
        nonlocal sweeps
        sweeps += 1
        forget(inboxes, now)

    monkeypatch.setattr(Inboxes, "_forget_full_allowances", count)
    inboxes = Inboxes(MemoryLog(), Limits(sends_per_second=1, sends_burst=10))
    for n in range(9_000):
        inboxes.allowance(UserId(f"user-{n}"), 0.0).sends.take(0.0)

    assert sweeps == 4  # at 1,000 and whenever there are twice as many
