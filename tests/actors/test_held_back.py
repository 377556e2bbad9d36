"""Whoever is refused on and on is read at a bounded rate; whoever errs now and then never waits."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from actors.inboxes import FLOODS_AT_ONCE
from actors.limits import Limits
from actors.rates import FLOOD_FACTOR, Pace
from actors.session import FREE_REFUSALS
from ksmp.events import Resume, Send
from ksmp.types import GlobalInboxSeq, UserId
from tests.actors.peers import ConnectedWorld
from tests.actors.world import BOB, envelope

pytestmark = pytest.mark.usefixtures("both_ways_in")

pytestmark = pytest.mark.trio

PER_SECOND = 100
LIMITS = Limits(sends_per_second=PER_SECOND, sends_burst=200)
IMPOSSIBLE = Resume(GlobalInboxSeq(10))  # ahead of the head: refused on the spot
REFUSED_PER_SECOND = FLOODS_AT_ONCE * FLOOD_FACTOR * PER_SECOND


async def test_a_pace_tells_each_when_all_before_it_is_paid_for() -> None:  # noqa: ASYNC124
    pace = Pace(10.0)

    assert [pace.charge(5.0) for _ in range(3)] == pytest.approx([0.1, 0.2, 0.3])
    assert pace.charge(5.2) == pytest.approx(0.2)
    assert pace.charge(60.0) == pytest.approx(0.1), "nothing can be saved up"


async def test_all_floods_together_are_refused_at_a_bounded_rate(
    autojump_clock: MockClock,
) -> None:
    world = ConnectedWorld(LIMITS)
    floods = 10
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        peers = [await world.connect(nursery, UserId(f"flood-{n}")) for n in range(floods)]
        for peer in peers:
            await peer.say(*[IMPOSSIBLE] * 1_500)
        at_once = sum(len(peer.errors) for peer in peers)
        await trio.sleep(2.0)
        in_two_seconds = sum(len(peer.errors) for peer in peers) - at_once
        nursery.cancel_scope.cancel()

    assert at_once <= floods * (FREE_REFUSALS + 2 * 20)
    assert in_two_seconds == pytest.approx(2 * REFUSED_PER_SECOND, rel=0.1)


async def test_one_flood_alone_is_still_found_out(autojump_clock: MockClock) -> None:
    world = ConnectedWorld(LIMITS)
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        peer = await world.connect(nursery)
        peer.transport.arrive(*[peer.codec.encode(IMPOSSIBLE)] * 10_000)
        with trio.fail_after(5):
            await peer.has_ended.wait()
        nursery.cancel_scope.cancel()

    assert peer.transport.close_code == 4429


async def test_whoever_comes_back_after_a_flood_finds_nothing_forgotten(
    autojump_clock: MockClock,
) -> None:
    world = ConnectedWorld(LIMITS)
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        peer = await world.connect(nursery)
        peer.transport.arrive(*[peer.codec.encode(IMPOSSIBLE)] * 10_000)
        await peer.has_ended.wait()
        again = await world.connect(nursery)
        again.transport.arrive(*[again.codec.encode(IMPOSSIBLE)] * 10_000)
        with trio.fail_after(5):
            await again.has_ended.wait()
        nursery.cancel_scope.cancel()

    assert again.transport.close_code == 4429
    assert len(again.errors) < len(peer.errors) / 2


async def test_who_is_held_back_for_long_is_not_taken_for_silent(
    autojump_clock: MockClock,
) -> None:
    world = ConnectedWorld(Limits(sends_per_second=1, sends_burst=100, keepalive_seconds=1.0))
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        peer = await world.connect(nursery)
        peer.transport.arrive(*[peer.codec.encode(IMPOSSIBLE)] * (FREE_REFUSALS + 400))
        await trio.sleep(6.0)
        held_back = peer.transport.close_code is None and len(peer.errors) < FREE_REFUSALS + 400
        nursery.cancel_scope.cancel()

    assert held_back


async def test_others_are_served_at_once_while_a_flood_is_held_back(
    autojump_clock: MockClock,
) -> None:
    world = ConnectedWorld(LIMITS)
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        flood = await world.connect(nursery, BOB)
        other = await world.connect(nursery)
        await flood.say(*[IMPOSSIBLE] * 1_500)
        began = trio.current_time()
        await other.say(Send(envelope()))
        assert await other.is_served()
        nursery.cancel_scope.cancel()

    assert trio.current_time() == began
    assert len(flood.errors) < 1_500
