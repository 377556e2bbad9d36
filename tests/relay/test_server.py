"""Whoever is admitted takes part in a drain, however far it has come."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors.limits import Limits
from ksmp.codec import MSGPACK
from ksmp.events import Connected, Error, SendAck
from ksmp.types import ConnectionId, DeviceId, TimeMs, UserId
from relay.admissions import Admission, most_replaced
from relay.auth import Authenticator, Identity
from relay.server import Server
from relay.transport.http import HandshakeRefusedError
from tests.actors.fake_transport import FakeTransport
from tests.actors.peers import ConnectedWorld, sends
from tests.actors.world import wall_clock

FOREVER_MS = TimeMs(2**52)


class Relay(ConnectedWorld):
    """A world whose connections come through a server."""

    def __init__(self, limits: Limits = Limits()) -> None:
        super().__init__(limits)
        nobody = Authenticator({}, audience="nobody", issuer=None, now_ms=wall_clock)
        self.server = Server(self.surroundings, nobody, lambda: ConnectionId("unused"))

    async def arrive(self, nursery: trio.Nursery, user: str) -> FakeTransport:
        """Someone has got through the handshake."""
        identity = Identity(UserId(user), DeviceId("phone"), FOREVER_MS, None)
        who = Admission(identity, ConnectionId(f"connection-of-{user}"), "an address")
        transport = FakeTransport()
        self.server.admit(who)
        nursery.start_soon(self.server.serve, who, MSGPACK, transport)
        await wait_all_tasks_blocked()
        return transport


def told(transport: FakeTransport) -> list[str]:
    """What the client was told, errors by their codes."""
    return [
        event.code if isinstance(event, Error) else type(event).__name__
        for event in transport.events()
    ]


@pytest.mark.parametrize("others", [0, 1])
async def test_whoever_still_waits_for_its_inbox_is_welcomed_told_and_closed_by_a_drain(
    others: int, autojump_clock: MockClock
) -> None:
    relay = Relay()
    has_drained = trio.Event()

    async def drain() -> None:
        await relay.server.drain()
        has_drained.set()

    async with trio.open_nursery() as nursery:
        await relay.start(nursery)
        settled = [await relay.arrive(nursery, f"settled-{number}") for number in range(others)]
        relay.log.is_held = True
        late = await relay.arrive(nursery, "late")
        assert told(late) == []

        nursery.start_soon(drain)
        await wait_all_tasks_blocked()
        assert not has_drained.is_set(), "one of those admitted has not been told"
        relay.log.release()
        await has_drained.wait()

        for transport in (*settled, late):
            assert told(transport) == [Connected.__name__, "draining"]
            assert transport.close_code == 1001
        assert relay.server.connections == 0
        nursery.cancel_scope.cancel()


async def test_a_drain_answers_what_was_accepted_before_it_closes(
    autojump_clock: MockClock,
) -> None:
    relay = Relay()
    async with trio.open_nursery() as nursery:
        await relay.start(nursery)
        transport = await relay.arrive(nursery, "alice")
        relay.log.is_held = True
        transport.arrive(*map(MSGPACK.encode, sends(3)))
        await wait_all_tasks_blocked()
        nursery.start_soon(relay.server.drain)
        await wait_all_tasks_blocked()
        assert told(transport)[-1] == "draining"
        relay.log.release()
        await wait_all_tasks_blocked()

        assert relay.server.connections == 0
        assert told(transport) == [Connected.__name__, "draining", *[SendAck.__name__] * 3]
        assert transport.close_code == 1001
        nursery.cancel_scope.cancel()


async def test_nobody_is_admitted_while_draining_and_an_empty_relay_has_drained_at_once(
    autojump_clock: MockClock,
) -> None:
    relay = Relay()
    async with trio.open_nursery() as nursery:
        await relay.start(nursery)
        await relay.server.drain()

        with pytest.raises(HandshakeRefusedError) as refused:
            await relay.arrive(nursery, "alice")
        assert refused.value.code == "draining"
        nursery.cancel_scope.cancel()


async def test_a_drain_that_is_out_of_time_leaves_the_rest_to_whoever_ends_them(
    autojump_clock: MockClock,
) -> None:
    relay = Relay()
    async with trio.open_nursery() as nursery:
        await relay.start(nursery)
        relay.log.is_held = True
        late = await relay.arrive(nursery, "late")
        with trio.move_on_after(5) as in_time:
            await relay.server.drain()
        assert in_time.cancelled_caught
        relay.log.release()
        await wait_all_tasks_blocked()

        assert told(late) == [Connected.__name__]
        nursery.cancel_scope.cancel()
    assert late.is_released
    assert relay.server.connections == 0


async def test_whoever_replaces_himself_without_end_has_a_limit_too(
    autojump_clock: MockClock,
) -> None:
    relay = Relay(Limits(connections=2))
    async with trio.open_nursery() as nursery:
        await relay.start(nursery)
        relay.log.is_held = True  # nobody gets further than into the door
        for _ in range(1 + most_replaced(2)):
            await relay.arrive(nursery, "alice")

        with pytest.raises(HandshakeRefusedError) as refused:
            await relay.arrive(nursery, "alice")
        assert refused.value.code == "overloaded"
        nursery.cancel_scope.cancel()


async def test_whoever_replaces_himself_takes_no_place_from_anyone_else(
    autojump_clock: MockClock,
) -> None:
    relay = Relay(Limits(connections=2, connections_per_user=5))
    async with trio.open_nursery() as nursery:
        await relay.start(nursery)
        relay.log.is_held = True
        for _ in range(1 + 5):
            await relay.arrive(nursery, "alice")

        with pytest.raises(HandshakeRefusedError) as refused:
            await relay.arrive(nursery, "alice")
        assert refused.value.code == "rate_limited"
        await relay.arrive(nursery, "bob")
        for _ in range(most_replaced(2) - 5):
            await relay.arrive(nursery, "bob")
        with pytest.raises(HandshakeRefusedError) as refused:
            await relay.arrive(nursery, "bob")
        assert refused.value.code == "overloaded"
        nursery.cancel_scope.cancel()
    assert relay.server.connections == 0
