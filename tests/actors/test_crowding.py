"""However many conversations are asked for while the store is stuck, few have a task."""

from __future__ import annotations

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors.limits import Limits
from actors.router import LEAST_CROWD, PASSIVATION_TRIES, NotRouted, most_live
from tests.actors.world import Client, World, all_answered, send_letter

LIMITS = Limits(live_conversations=3)


async def test_past_twice_as_many_as_should_be_live_a_newcomer_is_told_that_it_is_too_much(
    autojump_clock: MockClock,
) -> None:
    world, client = World(LIMITS), Client()
    most = most_live(LIMITS.live_conversations)
    letters = [send_letter(client, conversation=f"talk-{n}") for n in range(most)]
    late = send_letter(client, conversation="late")
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        world.log.is_held = True
        world.route(*letters)
        refused = world.router.route(late.conversation, late)
        under_way = world.router.under_way_bytes
        live = world.router.live_conversations
        again = send_letter(client, "another", conversation="talk-0")
        world.route(again)
        world.log.release()
        await all_answered([*letters, again])
        world.route(late)
        await all_answered([late])
        nursery.cancel_scope.cancel()

    assert most == LIMITS.live_conversations + LEAST_CROWD
    assert refused == NotRouted("overloaded", 1_000)
    assert live == most
    assert under_way == sum(letter.size for letter in letters), "a refused letter is not under way"
    assert len(client.to(late)) == 1


async def test_many_that_are_busy_at_once_do_not_hide_those_that_are_idle(
    autojump_clock: MockClock,
) -> None:
    """Or whoever keeps a few conversations crashing would keep everyone else's in memory."""
    limits = Limits(live_conversations=3 * PASSIVATION_TRIES)
    world, client = World(limits, is_debug=False), Client()
    busy = [send_letter(client, conversation=f"busy-{n}") for n in range(PASSIVATION_TRIES)]
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        world.log.is_held = True
        world.route(*busy)
        await wait_all_tasks_blocked()
        assert not any(live.mailbox.is_idle for live in world.router._live.values())
        world.log._waiting.clear()  # theirs are lost: they stay unanswered
        world.log.release()
        for number in range(5 * limits.live_conversations):
            letter = send_letter(client, conversation=f"idle-{number}")
            world.route(letter)
            await all_answered([letter])
        live_at_last = world.router.live_conversations
        nursery.cancel_scope.cancel()

    assert live_at_last <= limits.live_conversations + 1
