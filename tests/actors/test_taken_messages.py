"""A message that has been taken is not kept while those behind it wait."""

from __future__ import annotations

import weakref

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors.limits import Limits
from ksmp.codec import MSGPACK
from tests.actors.peers import ConnectedWorld, sends

pytestmark = pytest.mark.usefixtures("both_ways_in")


class Weighed(bytearray):
    """A message whose end can be seen."""

    __slots__ = ("__weakref__",)


async def test_while_reading_pauses_only_what_has_not_been_taken_is_kept(
    autojump_clock: MockClock,
) -> None:
    world = ConnectedWorld(Limits(unacked_sends=2))
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        peer = await world.connect(nursery)
        world.log.is_held = True
        messages = [Weighed(MSGPACK.encode(one)) for one in sends(5)]
        alive = [weakref.ref(one) for one in messages]
        peer.transport.arrive(*messages)  # type: ignore[arg-type]
        messages.clear()
        await wait_all_tasks_blocked()
        kept = [one() is not None for one in alive]
        nursery.cancel_scope.cancel()

    assert kept == [False, False, True, True, True]
