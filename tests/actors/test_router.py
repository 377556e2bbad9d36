"""Conversations live while they are used, and a letter that was taken is always answered."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors.limits import Limits
from actors.router import NotRouted
from tests.actors.memory_log import MemoryLog
from tests.actors.world import (
    KEY,
    Client,
    Sender,
    World,
    all_answered,
    key_of,
    numbers,
    send_letter,
)

# ── activation ───────────────────────────────────────────────────────────────────────────────


async def test_a_conversation_goes_on_where_the_log_ends(autojump_clock: MockClock) -> None:
    client, log = Client(), MemoryLog()
    first = [send_letter(client, f"first-{n}") for n in range(3)]
    later = [send_letter(client, f"later-{n}") for n in range(2)]
    for letters in (first, later):  # as two processes, one after the other
        async with trio.open_nursery() as nursery:
            world = World(log=log)
            await world.start(nursery)
            world.route(*letters)
            await all_answered([*letters])
            nursery.cancel_scope.cancel()

    assert numbers(client, first + later) == [1, 2, 3, 4, 5]


async def test_letters_that_come_in_one_step_find_one_mailbox(autojump_clock: MockClock) -> None:
    world, client = World(), Client()
    letters = [send_letter(client, f"key-{n}") for n in range(50)]
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        world.route(*letters)
        live = world.router.live_conversations
        await all_answered([*letters])
        nursery.cancel_scope.cancel()

    assert live == 1
    assert world.telemetry.count("actor.started") == 1 + 1, "the router and one conversation"
    assert numbers(client, letters) == list(range(1, 51))


# ── passivation ──────────────────────────────────────────────────────────────────────────────


async def test_an_unused_conversation_ends_its_task_and_later_continues_its_numbers(
    autojump_clock: MockClock,
) -> None:
    world, client = World(Limits(conversation_idle_seconds=5.0)), Client()
    before = [send_letter(client, f"before-{n}") for n in range(3)]
    after = [send_letter(client, f"after-{n}") for n in range(3)]
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        tasks = trio.lowlevel.current_statistics().tasks_living
        world.route(*before)
        await all_answered([*before])
        await trio.sleep(4.0)
        assert world.router.live_conversations == 1
        await trio.sleep(3.0)
        assert world.router.live_conversations == 0
        assert trio.lowlevel.current_statistics().tasks_living == tasks
        world.route(*after)
        await all_answered([*after])
        nursery.cancel_scope.cancel()

    assert numbers(client, before + after) == [1, 2, 3, 4, 5, 6]


async def test_a_conversation_in_use_is_not_passivated(autojump_clock: MockClock) -> None:
    world, client = World(Limits(conversation_idle_seconds=5.0)), Client()
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        for n in range(10):
            world.route(send_letter(client, f"key-{n}"))
            await trio.sleep(3.0)
        nursery.cancel_scope.cancel()

    assert world.telemetry.count("conversation.activated") == 1
    assert world.telemetry.count("conversation.passivated") == 0


@pytest.mark.rule("S28")
async def test_a_conversation_that_waits_for_the_disk_is_not_passivated(
    autojump_clock: MockClock,
) -> None:
    world, client = World(Limits(conversation_idle_seconds=5.0)), Client()
    letters = [send_letter(client, "waits"), send_letter(client, "in hand")]
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        for letter in letters:  # the first while the head is read, the second while it is appended
            world.log.is_held = True
            world.route(letter)
            await trio.sleep(60.0)
            assert world.router.live_conversations == 1
            world.log.release()
            await all_answered([letter])
        nursery.cancel_scope.cancel()

    assert numbers(client, letters) == [1, 2]
    assert world.telemetry.count("conversation.activated") == 1


async def test_past_the_limit_the_longest_unused_makes_room(autojump_clock: MockClock) -> None:
    world, client = World(Limits(live_conversations=3)), Client()
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        for name in ("a", "b", "c", "a", "d"):
            letter = send_letter(client, name, conversation=name)
            world.route(letter)
            await all_answered([letter])
        live = set(world.router._live)
        nursery.cancel_scope.cancel()

    assert live == {key_of("c"), key_of("a"), key_of("d")}


async def test_busy_conversations_are_not_passivated_for_a_newcomer(
    autojump_clock: MockClock,
) -> None:
    world, client = World(Limits(live_conversations=3)), Client()
    letters = [send_letter(client, "one", conversation=f"talk-{n}") for n in range(5)]
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        world.log.is_held = True
        world.route(*letters)
        assert world.router.live_conversations == 5
        world.log.release()
        await all_answered([*letters])
        nursery.cancel_scope.cancel()

    assert numbers(client, letters) == [1] * 5


@pytest.mark.parametrize("touched", [3_000, pytest.param(100_000, marks=pytest.mark.slow)])
async def test_conversations_touched_cost_no_more_tasks_than_may_be_live(
    autojump_clock: MockClock, touched: int
) -> None:
    limits = Limits(live_conversations=500, new_conversations_per_hour=touched)
    world, client = World(limits, is_debug=False), Client()
    most_tasks = 0
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        tasks = trio.lowlevel.current_statistics().tasks_living
        for start in range(0, touched, 250):
            names = [f"talk-{n}" for n in range(start, start + 250)]
            world.route(*(send_letter(client, conversation=name) for name in names))
            await wait_all_tasks_blocked()
            most_tasks = max(most_tasks, trio.lowlevel.current_statistics().tasks_living)
            assert len(client.answers) == 250
            client.answers.clear()
        again = send_letter(client, "again", conversation="talk-7")
        world.route(again)
        await all_answered([again])
        nursery.cancel_scope.cancel()

    assert len(world.log.records) == touched
    assert most_tasks <= tasks + limits.live_conversations
    assert numbers(client, [again]) == [2]


async def test_a_letter_put_at_any_moment_around_passivation_is_not_lost(
    autojump_clock: MockClock,
) -> None:
    """The newcomer pushes the other out as soon as that is idle, and the other comes back."""
    passivations = 0
    for steps in range(25):
        world, client = World(Limits(live_conversations=1)), Client()
        first = send_letter(client, "first")
        newcomer = send_letter(client, conversation="elsewhere")
        back = [send_letter(client, "back-1"), send_letter(client, "back-2")]
        async with trio.open_nursery() as nursery:
            await world.start(nursery)
            world.route(first)
            for _ in range(steps):
                await trio.lowlevel.checkpoint()
            world.route(newcomer, *back)
            await all_answered([first, newcomer, *back])
            nursery.cancel_scope.cancel()

        assert numbers(client, [first, *back]) == [1, 2, 3], f"after {steps} steps"
        passivations += world.telemetry.count("conversation.passivated")

    assert passivations >= 5


# ── limits ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "limits",
    [Limits(mailbox_length=3), Limits(mailbox_bytes=3 * (100 + len(b"sealed")))],
    ids=["letters", "bytes"],
)
async def test_a_full_mailbox_refuses_before_a_number_is_assigned(
    autojump_clock: MockClock, limits: Limits
) -> None:
    world, client = World(limits), Client()
    in_hand = send_letter(client, "in-hand")
    fitting = [send_letter(client, f"fitting-{n}") for n in range(3)]
    too_many = send_letter(client, "too-many")
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        world.log.is_held = True
        world.route(in_hand)
        await wait_all_tasks_blocked()  # waits for its head, and has taken nothing yet
        world.log.release()
        await wait_all_tasks_blocked()
        world.log.is_held = True
        world.route(send_letter(client, "turn"))
        await wait_all_tasks_blocked()
        world.route(*fitting)
        refused = world.router.route(KEY, too_many)
        elsewhere = send_letter(client, conversation="elsewhere")
        world.route(elsewhere)
        world.log.release()
        await all_answered([*fitting, elsewhere])
        world.route(too_many)
        await all_answered([too_many])
        nursery.cancel_scope.cancel()

    assert refused == NotRouted("overloaded", 1_000)
    assert numbers(client, [in_hand, *fitting, too_many]) == [1, 3, 4, 5, 6]


async def test_bytes_under_way_in_the_process_are_limited_and_given_back(
    autojump_clock: MockClock,
) -> None:
    world = World(Limits(sends_under_way_bytes=4 * (100 + len(b"sealed"))))
    client = Sender(world.router)
    taken = [send_letter(client, f"taken-{n}", conversation=f"talk-{n}") for n in range(4)]
    refused = send_letter(client, "refused", conversation="talk-9")
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        for _ in range(3):  # every answer gives back exactly what its letter took
            world.log.is_held = True
            world.route(*taken)
            assert world.router.route(key_of("talk-9"), refused) == NotRouted("overloaded", 1_000)
            world.log.release()
            await all_answered([*taken])
            taken = [send_letter(client, f"taken-{n}", conversation=f"talk-{n}") for n in range(4)]
        world.route(refused)
        await all_answered([refused])
        nursery.cancel_scope.cancel()

    assert numbers(client, [refused]) == [1]
    assert world.router._under_way_bytes == 0
