"""Limits that change while the relay runs: what exists keeps its own, what comes takes the new."""

from __future__ import annotations

from dataclasses import replace

import trio
from trio.testing import MockClock

from actors.inboxes import Inboxes
from actors.letters import Letter
from actors.limits import Limits
from actors.recent import RecentRecords
from actors.router import SWEEP_SECONDS
from ksmp.types import GlobalInboxSeq
from tests.actors.memory_log import MemoryLog
from tests.actors.test_recent import place, record
from tests.actors.world import (
    ALICE,
    BOB,
    KEY,
    Client,
    World,
    all_answered,
    key_of,
    send_letter,
)

LIMITS = Limits(mailbox_length=3)


async def test_a_mailbox_keeps_its_size_and_the_next_one_has_the_new(
    autojump_clock: MockClock,
) -> None:
    world, client = World(LIMITS), Client()
    async with trio.open_nursery() as nursery:
        await world.start(nursery)

        def taken(conversation: str) -> int:
            """How many letters fit, before anybody reads one."""
            letters = (send_letter(client, f"{n}", conversation=conversation) for n in range(9))
            routed = [world.router.route(key_of(conversation), letter) for letter in letters]
            assert {refused.code for refused in routed if refused} == {"overloaded"}
            return routed.count(None)

        first = send_letter(client, "first", conversation="old")
        world.route(first)
        world.router.adopt(replace(LIMITS, mailbox_length=1))
        assert taken("old") == 2, "and the first"
        assert taken("new") == 1
        nursery.cancel_scope.cancel()


async def test_what_is_under_way_counts_against_the_new_limit_at_once(
    autojump_clock: MockClock,
) -> None:
    world, client = World(), Client()
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        first = send_letter(client, "first")
        world.route(first)
        world.router.adopt(Limits(sends_under_way_bytes=first.size))
        refused = world.router.route(KEY, send_letter(client, "second"))

        assert refused is not None
        assert refused.code == "overloaded"
        nursery.cancel_scope.cancel()


async def test_conversations_that_are_too_many_after_a_change_are_passivated_soon(
    autojump_clock: MockClock,
) -> None:
    world, client = World(), Client()
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        letters: list[Letter] = [
            send_letter(client, conversation=f"talk-{number}") for number in range(20)
        ]
        world.route(*letters)
        await all_answered(letters)
        assert world.router.live_conversations == 20
        world.router.adopt(Limits(live_conversations=5))
        await trio.sleep(1.5 * SWEEP_SECONDS)

        assert world.router.live_conversations == 5
        nursery.cancel_scope.cancel()


def burst_of(inboxes: Inboxes) -> int:
    """How many sends a new connection of Alice's may make at once."""
    bucket = inboxes.allowance(ALICE, 0.0).sends
    taken = 0
    while bucket.take(0.0) == 0.0:
        taken += 1
    return taken


def test_a_changed_rate_is_that_of_later_connections_and_of_no_earlier_one() -> None:
    inboxes = Inboxes(MemoryLog(), Limits(sends_burst=4))
    told_before = inboxes.allowance(ALICE, 0.0).sends
    inboxes.adopt(Limits(sends_burst=2))

    assert burst_of(inboxes) == 2
    assert burst_of(inboxes) == 0, "all later devices share the new one"
    assert [told_before.take(0.0) == 0.0 for _ in range(5)] == [True] * 4 + [False]


def test_a_change_of_other_limits_gives_nobody_a_full_bucket() -> None:
    inboxes = Inboxes(MemoryLog(), Limits(sends_burst=4))
    assert burst_of(inboxes) == 4
    inboxes.adopt(Limits(sends_burst=4, mailbox_length=7))

    assert burst_of(inboxes) == 0


def test_recent_records_shrink_to_a_smaller_limit_with_the_next_record() -> None:
    recent = RecentRecords(1 << 20)
    for number in range(1, 12):
        if number == 11:
            recent.adopt(5_000)
        recent.add(BOB, place(number, number - 1), record(number))

    kept = [n for n in range(11) if recent.after(BOB, GlobalInboxSeq(n)) is not None]
    assert kept
    assert kept == list(range(11 - len(kept), 11)), "the latest"
    assert len(kept) < 11
