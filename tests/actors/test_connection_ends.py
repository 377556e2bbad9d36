"""Every way in which a connection ends: what is said first, which code closes, what stays whole."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Sequence

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors.limits import Limits
from actors.session import Session
from actors.surroundings import CLOCK_SKEW_SECONDS
from actors.transport import AtOnce, SlowPeerError, leave
from ksmp.codec import MSGPACK
from ksmp.errors import error
from ksmp.events import (
    About,
    Auth,
    AuthOk,
    Error,
    Ping,
    Resume,
    SendAck,
)
from ksmp.types import DeviceId, GlobalInboxSeq, TimeMs, UserId
from tests.actors.fake_transport import FakeTransport
from tests.actors.peers import FROM_THE_START, ConnectedWorld, Identity, sends, sends_of_bob
from tests.actors.world import BOB, KEY, WALL_MS

pytestmark = pytest.mark.usefixtures("both_ways_in")

ABOUT_AUTH = About("ksmpv3.auth")
KEEPALIVE = Limits(keepalive_seconds=30.0)


def identity(expires_at_seconds: float, user: str = "alice", device: str = "phone") -> Identity:
    expires_at = TimeMs(WALL_MS + int(expires_at_seconds * 1_000))
    return Identity(UserId(user), DeviceId(device), expires_at)


# ── silence ──────────────────────────────────────────────────────────────────────────────────


async def test_a_silent_client_is_pinged_once_and_closed_after_twice_the_keepalive(
    autojump_clock: MockClock,
) -> None:
    world = ConnectedWorld(KEEPALIVE)
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        peer = await world.connect(nursery)
        await trio.sleep(29)
        pings = [peer.transport.pings]
        await trio.sleep(2)
        pings.append(peer.transport.pings)
        await peer.has_ended.wait()
        ended_at = trio.current_time()
        nursery.cancel_scope.cancel()

    assert pings == [0, 1]
    assert peer.transport.pings == 1
    assert peer.transport.close_code == 4408
    assert ended_at == pytest.approx(60.0)


async def test_a_client_that_answers_pings_stays_and_is_pinged_after_each_silence(
    autojump_clock: MockClock,
) -> None:
    world = ConnectedWorld(KEEPALIVE)
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        peer = await world.connect(nursery)
        for _ in range(10):
            await trio.sleep(45)
            peer.transport.arrive()  # a pong: bytes, and no message
        assert peer.transport.close_code is None
        nursery.cancel_scope.cancel()

    assert peer.transport.pings == 10


async def test_the_clock_of_silence_stands_while_the_relay_is_not_reading(
    autojump_clock: MockClock,
) -> None:
    world = ConnectedWorld(Limits(unacked_sends=1, keepalive_seconds=30.0))
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        peer = await world.connect(nursery)
        world.log.is_held = True
        await peer.say(*sends(1))
        await trio.sleep(500)
        closed_while_waiting = peer.transport.close_code
        world.log.release()
        await wait_all_tasks_blocked()
        began = trio.current_time()
        await trio.sleep(55)
        closed_soon_after = peer.transport.close_code
        await peer.has_ended.wait()
        silence = trio.current_time() - began
        nursery.cancel_scope.cancel()

    assert (closed_while_waiting, closed_soon_after) == (None, None)
    assert peer.transport.close_code == 4408
    assert silence == pytest.approx(60.0)


# ── the token ────────────────────────────────────────────────────────────────────────────────


async def test_an_expired_token_ends_the_connection_at_its_expiry(
    autojump_clock: MockClock,
) -> None:
    world = ConnectedWorld()
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        peer = await world.connect(nursery, expires_in_seconds=20)
        await trio.sleep(19.9)
        assert await peer.is_served()
        await peer.has_ended.wait()
        ended_at = trio.current_time()
        nursery.cancel_scope.cancel()

    assert peer.heard[-1] == error("token_expired")
    assert peer.transport.close_code == 4401
    assert ended_at == pytest.approx(20.0)


async def test_a_token_accepted_within_the_clock_skew_lives_to_the_end_of_it(
    autojump_clock: MockClock,
) -> None:
    world = ConnectedWorld()
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        peer = await world.connect(nursery, expires_in_seconds=-10)
        await peer.has_ended.wait()
        ended_at = trio.current_time()
        nursery.cancel_scope.cancel()

    assert ended_at == pytest.approx(CLOCK_SKEW_SECONDS - 10)
    assert peer.errors == ["token_expired"]


async def test_a_fresh_token_prolongs_the_connection_to_its_own_expiry(
    autojump_clock: MockClock,
) -> None:
    world = ConnectedWorld()
    world.tokens["fresh"] = identity(200)
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        peer = await world.connect(nursery, expires_in_seconds=20)
        await trio.sleep(10)
        await peer.say(Auth("fresh"))
        while not peer.has_ended.is_set():
            peer.transport.arrive()  # pongs
            await trio.sleep(10)
        nursery.cancel_scope.cancel()

    assert peer.heard_of(AuthOk) == [AuthOk(TimeMs(WALL_MS + 200_000))]
    assert peer.heard[-1] == error("token_expired")
    assert trio.current_time() == pytest.approx(200.0, abs=10.1)


async def test_a_fresh_token_may_also_shorten_the_connection(autojump_clock: MockClock) -> None:
    world = ConnectedWorld()
    world.tokens["short"] = identity(5)
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        peer = await world.connect(nursery)
        await peer.say(Auth("short"))
        await peer.has_ended.wait()
        ended_at = trio.current_time()
        nursery.cancel_scope.cancel()

    assert ended_at == pytest.approx(5.0)
    assert peer.transport.close_code == 4401


@pytest.mark.parametrize(
    "other",
    [None, identity(900, user="mallory"), identity(900, device="tablet")],
    ids=["not valid", "another user", "another device"],
)
async def test_a_token_that_is_not_this_devices_ends_the_connection(
    autojump_clock: MockClock, other: Identity | None
) -> None:
    world = ConnectedWorld()
    if other is not None:
        world.tokens["other"] = other
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        peer = await world.connect(nursery)
        await peer.say(Auth("other"), Ping())
        await peer.has_ended.wait()
        nursery.cancel_scope.cancel()

    assert peer.heard[1:] == [error("unauthenticated", ABOUT_AUTH)]
    assert peer.transport.close_code == 4401


async def test_tokens_are_refreshed_at_most_once_in_ten_seconds(
    autojump_clock: MockClock,
) -> None:
    world = ConnectedWorld()
    world.tokens |= {"one": identity(100), "two": identity(200), "three": identity(300)}
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        peer = await world.connect(nursery)
        await peer.say(Auth("one"))
        await trio.sleep(4)
        await peer.say(Auth("two"))
        (refusal,) = peer.heard_of(Error)
        assert isinstance(refusal.retry_after_ms, int)
        await trio.sleep(refusal.retry_after_ms / 1_000)
        await peer.say(Auth("three"))
        nursery.cancel_scope.cancel()

    assert refusal == error("rate_limited", ABOUT_AUTH, retry_after_ms=6_001)
    answered = [answer.token_expires_at_ms - WALL_MS for answer in peer.heard_of(AuthOk)]
    assert answered == [100_000, 300_000]


# ── taken over, draining ─────────────────────────────────────────────────────────────────────


async def test_a_newer_connection_of_the_device_replaces_the_older_and_only_that(
    autojump_clock: MockClock,
) -> None:
    world = ConnectedWorld()
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        older = await world.connect(nursery)
        tablet = await world.connect(nursery, device="tablet")
        newer = await world.connect(nursery)
        await older.has_ended.wait()
        for peer in (newer, tablet):
            await peer.say(FROM_THE_START)
        bob = await world.connect(nursery, BOB)
        await bob.say(*sends_of_bob(2))
        nursery.cancel_scope.cancel()

    (last,) = older.heard_of(Error)
    assert older.heard[-1] == last == error("replaced", retry_after_ms=90_000)
    assert older.transport.close_code == 4409
    assert newer.frames == tablet.frames == [1, 2]


async def test_whoever_was_replaced_is_never_told_to_come_back_within_a_minute(
    autojump_clock: MockClock,
) -> None:
    waits = []
    for jitter in (0.0, 0.37, 0.999):
        world = ConnectedWorld()
        object.__setattr__(world.surroundings, "jitter", lambda jitter=jitter: jitter)
        async with trio.open_nursery() as nursery:
            await world.start(nursery)
            older = await world.connect(nursery)
            await world.connect(nursery)
            nursery.cancel_scope.cancel()
        waits += [refusal.retry_after_ms for refusal in older.heard_of(Error)]

    assert waits == [60_000, 82_200, 119_940]


async def test_draining_answers_what_was_accepted_takes_nothing_more_and_closes(
    autojump_clock: MockClock,
) -> None:
    world = ConnectedWorld()
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        peer = await world.connect(nursery)
        world.log.is_held = True
        await peer.say(*sends(3))
        nursery.start_soon(peer.connection.drain, 1_234)
        await wait_all_tasks_blocked()
        await peer.say(*sends(3, first=3), Ping())
        closed_before = peer.transport.close_code
        world.log.release()
        await peer.has_ended.wait()
        nursery.cancel_scope.cancel()

    assert closed_before is None
    assert peer.heard[1] == error("draining", retry_after_ms=1_234)
    assert [type(event) for event in peer.heard[2:]] == [SendAck] * 3
    assert peer.transport.close_code == 1001
    assert len(world.log.records[KEY]) == 3


async def test_draining_ends_though_the_client_is_gone(autojump_clock: MockClock) -> None:
    world = ConnectedWorld()
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        peer = await world.connect(nursery)
        world.log.is_held = True
        await peer.say(*sends(3))
        async with trio.open_nursery() as draining:
            draining.start_soon(peer.connection.drain, 1_000)
            await wait_all_tasks_blocked()
            peer.transport.hang_up()
        assert peer.has_ended.is_set() or peer.transport.is_released
        nursery.cancel_scope.cancel()


async def test_a_connection_that_is_cancelled_is_not_told_that_all_is_well(
    autojump_clock: MockClock,
) -> None:
    """A client stays away after 1000; what ends here is ours, or a drain out of time."""
    world = ConnectedWorld()
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        peer = await world.connect(nursery)
        nursery.cancel_scope.cancel()

    assert peer.transport.close_code == 1011


@pytest.mark.parametrize("how", ["the peer hangs up", "a fault of ours", "cancelled"])
async def test_a_connection_that_is_over_is_freed_without_the_garbage_collector(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """What hangs on it, a queue or half a frame, must not wait for a collection."""

    def fail(*_: object) -> None:
        raise RuntimeError

    world = ConnectedWorld()
    gc.disable()
    try:
        async with trio.open_nursery() as nursery:
            await world.start(nursery)
            async with trio.open_nursery() as served:
                peer = await world.connect(served)
                peer.transport.arrive(MSGPACK.encode(Resume(GlobalInboxSeq(0))))
                await wait_all_tasks_blocked()
                if how == "a fault of ours":
                    monkeypatch.setattr(Session, "take", fail)
                    peer.transport.arrive(MSGPACK.encode(Ping()))
                elif how == "the peer hangs up":
                    peer.transport.hang_up()
                else:
                    served.cancel_scope.cancel()
            connection, transport = weakref.ref(peer.connection), weakref.ref(peer.transport)
            del peer
            await wait_all_tasks_blocked()

            assert connection() is None
            assert transport() is None
            nursery.cancel_scope.cancel()
    finally:
        gc.enable()


async def test_a_slow_peer_found_while_reading_is_told_so(autojump_clock: MockClock) -> None:
    """Under TLS a pong is written by whoever reads; a peer that does not take it is slow as any."""

    class Owing(FakeTransport):
        async def receive(self, at_once: AtOnce = leave) -> Sequence[bytes]:
            await trio.lowlevel.checkpoint()
            raise SlowPeerError

    world = ConnectedWorld()
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        peer = await world.connect(nursery, transport=Owing())
        await peer.has_ended.wait()
        nursery.cancel_scope.cancel()

    assert peer.transport.close_code == 4410
