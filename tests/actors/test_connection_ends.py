"""Every way in which a connection ends: what is said first, which code closes, what stays whole."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import pytest
import trio
from trio.abc import Instrument
from trio.testing import MockClock, wait_all_tasks_blocked

from actors.connection import CLOCK_SKEW_MS, Connection
from actors.delivery import Delivery
from actors.limits import Limits
from ksmp.errors import error
from ksmp.events import (
    About,
    AckRead,
    Auth,
    AuthOk,
    Error,
    InboxFrame,
    Ping,
    Read,
    Resume,
    SendAck,
)
from ksmp.types import DeviceId, GlobalInboxSeq, ServerSeq, TimeMs, UserId
from tests.actors.fake_transport import FakeTransport
from tests.actors.peers import ConnectedWorld, Identity, Peer, sends, sends_of_bob
from tests.actors.saboteur import Planted
from tests.actors.world import ALICE, BOB, KEY, WALL_MS

FROM_THE_START = Resume(GlobalInboxSeq(0))
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
        nursery.cancel_scope.cancel()

    assert peer.transport.pings == 10
    assert peer.transport.close_code is None


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

    assert ended_at == pytest.approx(CLOCK_SKEW_MS / 1_000 - 10)
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


# ── slow readers ─────────────────────────────────────────────────────────────────────────────


async def test_a_client_that_takes_nothing_for_too_long_is_closed_as_slow(
    autojump_clock: MockClock,
) -> None:
    world = ConnectedWorld()
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        slow = await world.connect(nursery, BOB, transport=FakeTransport(write_seconds=10.0))
        alice = await world.connect(nursery)
        for peer in (slow, alice):
            await peer.say(FROM_THE_START)
        slow.transport.stall()
        began = trio.current_time()
        await alice.say(*sends(5))
        await slow.has_ended.wait()
        took = trio.current_time() - began
        nursery.cancel_scope.cancel()

    assert slow.transport.close_code == 4410
    assert took == pytest.approx(10.0)
    assert alice.frames == [1, 2, 3, 4, 5]
    assert slow.transport.is_released


async def test_a_slow_client_that_was_told_to_go_is_not_waited_for(
    autojump_clock: MockClock,
) -> None:
    world = ConnectedWorld()
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        stalled = await world.connect(nursery)
        stalled.transport.stall()
        await stalled.say(Ping())
        began = trio.current_time()
        await world.connect(nursery)
        await stalled.has_ended.wait()
        took = trio.current_time() - began
        nursery.cancel_scope.cancel()

    assert stalled.transport.close_code == 4409
    assert took <= 1.0


# ── faults of ours ───────────────────────────────────────────────────────────────────────────


def fail(*_: object) -> None:
    raise Planted


async def test_a_bug_in_handling_an_event_ends_that_connection_and_tells_nothing_of_itself(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = ConnectedWorld()
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        victim = await world.connect(nursery)
        other = await world.connect(nursery, BOB)
        with monkeypatch.context() as sabotage:
            sabotage.setattr(Connection, "_take_resume", fail)
            await victim.say(FROM_THE_START, Ping())
        assert await other.is_served()
        nursery.cancel_scope.cancel()

    assert victim.heard[1:] == [error("internal")]
    assert victim.transport.close_code == 1011
    assert_told_as_a_failure(world)


@pytest.mark.parametrize("broken", ["advance", "tell_read"])
async def test_a_bug_in_delivering_to_one_reader_keeps_no_other_from_its_records(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """It strikes in the commit, which belongs to everyone."""
    sound: Callable[..., object] = getattr(Delivery, broken)
    world = ConnectedWorld()
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        readers = [await world.connect(nursery, BOB, f"device-{n}") for n in range(5)]
        alice = await world.connect(nursery)
        for peer in (alice, *readers):
            await peer.say(FROM_THE_START)
        victim = readers[1].connection._delivery

        def sabotaged(self: Delivery, *arguments: object) -> object:
            if self is victim:
                raise Planted
            return sound(self, *arguments)

        monkeypatch.setattr(Delivery, broken, sabotaged)
        await alice.say(*sends(3))
        await readers[0].say(read_of_bob(2))
        nursery.cancel_scope.cancel()

    others = [alice, readers[0], *readers[2:]]
    assert [peer.frames for peer in others] == [[1, 2, 3]] * 5
    assert len(alice.heard_of(SendAck)) == 3
    assert [len(reads_heard(peer)) for peer in others] == [1] * 5
    assert readers[1].transport.close_code == 1011
    assert readers[1].errors == ["internal"]
    assert_told_as_a_failure(world)


async def test_a_bug_in_answering_one_sender_keeps_no_other_from_its_answers_and_records(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_answer = Connection._log_answer
    world = ConnectedWorld()
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        victim = await world.connect(nursery)
        bob = await world.connect(nursery, BOB)
        await bob.say(FROM_THE_START)

        def sabotaged(self: Connection, *arguments: object) -> None:
            if self is victim.connection:
                raise Planted
            log_answer(self, *arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(Connection, "_log_answer", sabotaged)
        world.log.is_held = True
        await victim.say(*sends(2))
        await bob.say(*sends_of_bob(2))
        world.log.release()
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    assert len(bob.heard_of(SendAck)) == 2
    assert bob.frames == [1, 2, 3, 4]
    assert victim.transport.close_code == 1011


async def test_a_store_that_cannot_be_read_ends_the_connection_with_an_internal_error(
    autojump_clock: MockClock,
) -> None:
    world = ConnectedWorld()
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        alice = await world.connect(nursery)
        await alice.say(*sends(3))
        world.log.unreadable = Planted()
        await alice.say(FROM_THE_START)
        await alice.has_ended.wait()
        nursery.cancel_scope.cancel()

    assert alice.errors == ["internal"]
    assert alice.heard_of(InboxFrame) == []
    assert alice.transport.close_code == 1011
    assert_told_as_a_failure(world)


class CommitAtStep(Instrument):
    """Delivers to a connection once, after the n-th step that any task takes, as a commit may."""

    def __init__(self, step: int, peer: Peer) -> None:
        self.left = step
        self.peer = peer
        self.failures: list[Exception] = []

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self.left -= 1
        if self.left == 0:
            try:
                self.peer.connection.deliver()
            except Exception as failure:  # noqa: BLE001 - kept for the test to see
                self.failures.append(failure)


@pytest.mark.parametrize("ends", ["hangs up", "is closed"])
async def test_a_commit_may_deliver_at_any_step_of_a_connections_end(
    autojump_clock: MockClock, ends: str
) -> None:
    for step in count(1):
        world = ConnectedWorld(Limits(recent_records_bytes=0))
        async with trio.open_nursery() as nursery:
            await world.start(nursery)
            peer = await world.connect(nursery)
            await peer.say(FROM_THE_START, *sends(3))
            # Two more are published than this connection has, and must be read from the log.
            peer.connection._delivery._cursor = GlobalInboxSeq(1)
            commit = CommitAtStep(step, peer)
            trio.lowlevel.add_instrument(commit)
            if ends == "hangs up":
                peer.transport.hang_up()
            else:
                peer.connection._reading.cancel()
            await peer.has_ended.wait()
            trio.lowlevel.remove_instrument(commit)
            nursery.cancel_scope.cancel()

        assert commit.failures == [], f"at step {step}"
        assert "connection.failed" not in world.lines.events, f"at step {step}"
        assert peer.transport.is_released
        if commit.left > 0:
            break

    assert step > 3


def assert_told_as_a_failure(world: ConnectedWorld) -> None:
    (line,) = [line for line in world.lines.lines if line.event == "connection.failed"]
    assert line.level == "error"
    assert line.fields["error"] == "Planted"


def read_of_bob(server_seq: int) -> AckRead:
    return AckRead(KEY.conversation_id, ALICE, ServerSeq(server_seq))


def reads_heard(peer: Peer) -> list[Read]:
    return peer.heard_of(Read)
