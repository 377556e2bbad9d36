"""A revocation ends whoever it covers, however far the connection has come, and nobody else."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from ksmp.codec import MSGPACK
from ksmp.events import Auth, AuthOk, Connected, Error
from ksmp.types import ConnectionId, DeviceId, TimeMs, UserId
from relay.admissions import Admission
from relay.auth import Authenticator, Identity
from relay.revocations import Revocation, Revocations
from relay.server import LOOKED_AT_PER_TURN, Server
from tests.actors.fake_transport import FakeTransport
from tests.actors.peers import ConnectedWorld
from tests.actors.world import wall_clock

FOREVER_MS = TimeMs(2**52)


class Relay(ConnectedWorld):
    """A world whose connections come through a server that knows revocations."""

    def __init__(self) -> None:
        super().__init__()
        nobody = Authenticator({}, audience="nobody", issuer=None, now_ms=wall_clock)
        self.revocations = Revocations({})
        self.server = Server(
            self.surroundings, nobody, lambda: ConnectionId("unused"), self.revocations.cover
        )

    def arrive(
        self, nursery: trio.Nursery, user: str, device: str = "phone", token_id: str | None = None
    ) -> FakeTransport:
        """Someone has got through the handshake."""
        identity = Identity(UserId(user), DeviceId(device), FOREVER_MS, None, token_id)
        who = Admission(identity, ConnectionId(f"connection-of-{user}"), f"address-of-{user}")
        transport = FakeTransport()
        self.server.admit(who)
        nursery.start_soon(self.server.serve, who, MSGPACK, transport)
        return transport


def told(transport: FakeTransport) -> list[str]:
    return [
        event.code if isinstance(event, Error) else type(event).__name__
        for event in transport.events()
    ]


ENDED = [Connected.__name__, "unauthenticated"]


async def test_a_revocation_ends_whom_it_covers_and_nobody_else(autojump_clock: MockClock) -> None:
    relay = Relay()
    async with trio.open_nursery() as nursery:
        await relay.start(nursery)
        phone, tablet = (relay.arrive(nursery, "alice", device) for device in ("phone", "tablet"))
        bob = relay.arrive(nursery, "bob")
        await wait_all_tasks_blocked()
        relay.revocations.adopt({Revocation(UserId("alice"), DeviceId("phone"))})
        await relay.server.end_revoked()
        await wait_all_tasks_blocked()

        assert told(phone) == ENDED
        assert phone.close_code == 4401
        assert told(tablet) == told(bob) == [Connected.__name__]
        assert relay.server.connections == 2
        assert relay.lines.events.count("connection.revoked") == 1
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("is_swept", [False, True])
async def test_whoever_is_revoked_while_its_inbox_opens_is_welcomed_told_and_closed(
    is_swept: bool, autojump_clock: MockClock
) -> None:
    relay = Relay()
    async with trio.open_nursery() as nursery:
        await relay.start(nursery)
        relay.log.is_held = True
        late = relay.arrive(nursery, "alice")
        await wait_all_tasks_blocked()
        relay.revocations.adopt({Revocation(UserId("alice"))})
        if is_swept:
            await relay.server.end_revoked()
        assert told(late) == []
        relay.log.release()
        await wait_all_tasks_blocked()

        assert told(late) == ENDED
        assert late.close_code == 4401
        assert relay.server.connections == 0
        nursery.cancel_scope.cancel()


async def test_a_connection_is_judged_by_its_refreshed_identity(autojump_clock: MockClock) -> None:
    relay = Relay()
    fresh = Identity(UserId("alice"), DeviceId("phone"), FOREVER_MS, None, "second")
    relay.tokens["fresh"] = fresh  # type: ignore[assignment]  # where the actors ask who it is
    async with trio.open_nursery() as nursery:
        await relay.start(nursery)
        transport = relay.arrive(nursery, "alice", token_id="first")
        await wait_all_tasks_blocked()
        transport.arrive(MSGPACK.encode(Auth("fresh")))
        await wait_all_tasks_blocked()
        for token_id, expected in (
            ("first", [Connected.__name__, AuthOk.__name__]),
            ("second", [Connected.__name__, AuthOk.__name__, "unauthenticated"]),
        ):
            relay.revocations.adopt({Revocation(UserId("alice"), None, token_id)})
            await relay.server.end_revoked()
            await wait_all_tasks_blocked()
            assert told(transport) == expected
        nursery.cancel_scope.cancel()


async def test_others_have_their_turn_while_very_many_are_looked_at_or_ended(
    autojump_clock: MockClock,
) -> None:
    relay = Relay()
    turns: list[int] = []

    async def count_turns() -> None:
        while True:
            turns.append(1)
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        await relay.start(nursery)
        for number in range(2 * LOOKED_AT_PER_TURN):
            relay.arrive(nursery, f"user-{number}")
        doomed = [relay.arrive(nursery, f"doomed-{number}") for number in range(50)]
        await wait_all_tasks_blocked()
        nursery.start_soon(count_turns)
        await relay.server.end_revoked()
        looking = len(turns)
        revoked = {Revocation(UserId(f"doomed-{number}")) for number in range(50)}
        relay.revocations.adopt(revoked)
        await relay.server.end_revoked()

        # Whoever takes turns with it has as many, or one more or less: their order is not fixed.
        assert 1 <= looking <= 3
        assert len(turns) - looking >= 49
        assert all(told(transport)[-1] == "unauthenticated" for transport in doomed)
        nursery.cancel_scope.cancel()
