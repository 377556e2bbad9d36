"""A client that breaks the contract, hurries, or does not read costs no more than it may."""

from __future__ import annotations

import pytest
import trio
import trio.lowlevel
from trio.testing import MockClock, wait_all_tasks_blocked

from actors.limits import Limits
from ksmp.codec import JSON, MSGPACK
from ksmp.errors import error
from ksmp.events import (
    About,
    AckRead,
    ClientEvent,
    Error,
    Ping,
    Pong,
    Resume,
    Send,
    SendAck,
)
from ksmp.types import GlobalInboxSeq, ServerSeq
from tests.actors.peers import FROM_THE_START, ConnectedWorld, about, sends, sends_of_bob
from tests.actors.world import BOB, KEY, TALK

pytestmark = pytest.mark.usefixtures("both_ways_in")

# ── breaking the contract ────────────────────────────────────────────────────────────────────

MALFORMED = MSGPACK.encode(Ping()) + b"trailing"
UNKNOWN = b"\x81\xa4type\xa7unknown"


async def test_the_fourth_strike_in_ten_seconds_is_answered_and_closes(
    autojump_clock: MockClock,
) -> None:
    world = ConnectedWorld()
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        peer = await world.connect(nursery)
        peer.transport.arrive(MALFORMED, UNKNOWN, MALFORMED)
        await trio.sleep(9)
        assert peer.transport.close_code is None
        peer.transport.arrive(UNKNOWN, MSGPACK.encode(Ping()))
        await peer.has_ended.wait()
        nursery.cancel_scope.cancel()

    assert peer.errors == ["malformed", "unknown_event", "malformed", "unknown_event"]
    assert peer.heard_of(Pong) == []
    assert peer.transport.close_code == 4400


async def test_strikes_that_are_spread_never_close(autojump_clock: MockClock) -> None:
    world = ConnectedWorld()
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        peer = await world.connect(nursery)
        for _ in range(20):
            peer.transport.arrive(MALFORMED)
            await trio.sleep(3.5)
        assert await peer.is_served()
        nursery.cancel_scope.cancel()

    assert peer.errors == ["malformed"] * 20


async def test_a_malformed_send_is_told_which_one_it_was(autojump_clock: MockClock) -> None:
    (send,) = sends(1)
    world = ConnectedWorld()
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        peer = await world.connect(nursery)
        peer.transport.arrive(MSGPACK.encode(send).replace(b"ksmpv3\xae", b"ksmpv9\xae"))
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    assert isinstance(send, Send)
    assert peer.heard[1:] == [error("malformed", about(send))]


async def test_text_that_is_not_utf_8_closes_as_the_websocket_protocol_asks(
    autojump_clock: MockClock,
) -> None:
    world = ConnectedWorld()
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        peer = await world.connect(nursery, codec=JSON)
        peer.transport.arrive(b'{"type":"\xff"}')
        await peer.has_ended.wait()
        nursery.cancel_scope.cancel()

    assert peer.transport.close_code == 1007
    assert len(peer.transport.sent) == 1


# ── rates ────────────────────────────────────────────────────────────────────────────────────


async def test_sends_over_the_rate_are_refused_until_the_time_they_are_told(
    autojump_clock: MockClock,
) -> None:
    world = ConnectedWorld(Limits(sends_per_second=2, sends_burst=3))
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        peer = await world.connect(nursery)
        await peer.say(*sends(3), AckRead(TALK, BOB, ServerSeq(1)))
        (too_soon,) = peer.heard_of(Error)
        assert isinstance(too_soon.retry_after_ms, int)
        await trio.sleep(too_soon.retry_after_ms / 1_000)
        await peer.say(*sends(1, first=3))
        nursery.cancel_scope.cancel()

    expected = error("rate_limited", About("ksmpv3.ack.read", TALK), retry_after_ms=501)
    assert too_soon == expected
    assert len(peer.heard_of(SendAck)) == 4


async def test_all_connections_of_a_user_share_one_rate_and_reconnecting_does_not_help(
    autojump_clock: MockClock,
) -> None:
    world = ConnectedWorld(Limits(sends_per_second=1, sends_burst=4))
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        for device in ("one", "two"):
            peer = await world.connect(nursery, device=device)
            await peer.say(*sends(2, first=len(world.log.records.get(KEY, []))))
            peer.transport.hang_up()
            await wait_all_tasks_blocked()
        peer = await world.connect(nursery, device="three")
        await peer.say(*sends(2, first=4))
        other = await world.connect(nursery, BOB)
        await other.say(*sends_of_bob(1))
        nursery.cancel_scope.cancel()

    assert peer.errors == ["rate_limited", "rate_limited"]
    assert len(other.heard_of(SendAck)) == 1


@pytest.mark.parametrize(
    ("largest", "tolerated"),
    [(1_000, ["rate_limited"] * 18), (1, ["too_large"] * 18)],
    ids=["too fast", "too large as well"],
)
async def test_who_goes_on_at_ten_times_the_rate_is_cut_off(
    autojump_clock: MockClock, largest: int, tolerated: list[str]
) -> None:
    limits = Limits(sends_per_second=1, sends_burst=2, max_ciphertext_bytes=largest)
    accepted = 2 if largest > 1 else 0
    world = ConnectedWorld(limits)
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        peer = await world.connect(nursery)
        await peer.say(*sends(accepted + 18))
        assert await peer.is_served()
        await peer.say(*sends(2, first=20))
        await peer.has_ended.wait()
        nursery.cancel_scope.cancel()

    assert peer.transport.close_code == 4429
    assert peer.errors == [*tolerated, tolerated[0]]


async def test_who_keeps_within_the_rate_is_never_cut_off(autojump_clock: MockClock) -> None:
    world = ConnectedWorld(Limits(sends_per_second=10, sends_burst=2))
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        peer = await world.connect(nursery)
        for n in range(500):
            await peer.say(*sends(1, first=n))
            await trio.sleep(0.1)
        nursery.cancel_scope.cancel()

    assert peer.errors == []
    assert len(peer.heard_of(SendAck)) == 500


async def test_pings_count_as_control_frames_and_too_many_are_not_answered(
    autojump_clock: MockClock,
) -> None:
    world = ConnectedWorld()
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        peer = await world.connect(nursery)
        peer.transport.controls_left = 3
        await peer.say(*[Ping()] * 5)
        nursery.cancel_scope.cancel()

    assert len(peer.heard_of(Pong)) == 3
    assert peer.transport.close_code == 4429


# ── reading stops and goes on ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "limits",
    [Limits(unacked_sends=4), Limits(unacked_bytes=1_000)],
    ids=["number", "bytes"],
)
async def test_past_the_limit_of_unanswered_sends_nothing_is_read_until_answers_came(
    autojump_clock: MockClock, limits: Limits
) -> None:
    world = ConnectedWorld(limits)
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        peer = await world.connect(nursery)
        world.log.is_held = True
        for send in sends(20):
            await peer.say(send)
        size = len(MSGPACK.encode(sends(1)[0]))
        reads, unanswered = peer.transport.reads, peer.connection._backpressure.unanswered
        world.log.release()
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    allowed = 4 if limits.unacked_sends == 4 else -(-limits.unacked_bytes // size)
    assert reads == unanswered == allowed
    assert [ack.server_seq for ack in peer.heard_of(SendAck)] == list(range(1, 21))


async def test_one_read_full_of_sends_is_taken_in_portions(autojump_clock: MockClock) -> None:
    world = ConnectedWorld(Limits(unacked_sends=4))
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        peer = await world.connect(nursery)
        world.log.is_held = True
        await peer.say(*sends(20))
        unanswered = peer.connection._backpressure.unanswered
        world.log.release()
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    assert unanswered == 4
    assert [ack.server_seq for ack in peer.heard_of(SendAck)] == list(range(1, 21))


async def test_one_event_larger_than_the_limit_of_unanswered_bytes_is_taken(
    autojump_clock: MockClock,
) -> None:
    world = ConnectedWorld(Limits(unacked_bytes=100))
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        peer = await world.connect(nursery)
        await peer.say(*sends(3, text=b"x" * 5_000))
        nursery.cancel_scope.cancel()

    assert len(peer.heard_of(SendAck)) == 3


async def test_a_client_that_does_not_read_is_not_read_and_misses_nothing(
    autojump_clock: MockClock,
) -> None:
    world = ConnectedWorld(Limits(outbound_bytes=3_000))
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        bob = await world.connect(nursery, BOB)
        peer = await world.connect(nursery)
        await peer.say(FROM_THE_START)
        peer.transport.stall()
        await bob.say(*sends_of_bob(50, text=b"x" * 500))
        reads = peer.transport.reads
        for _ in range(10):
            await peer.say(Ping())
        read_while_stalled = peer.transport.reads - reads
        acked_while_stalled = len(bob.heard_of(SendAck))
        peer.transport.go_on()
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    assert read_while_stalled <= 1, "the read that was under way when the queue filled"
    assert acked_while_stalled == 50, "nobody waits for a slow reader"
    assert peer.transport.most_queued_bytes < 2 * 3_000
    assert peer.frames == list(range(1, 51))
    assert len(peer.heard_of(Pong)) == 10


async def test_pings_past_their_limit_end_the_connection_and_what_comes_behind_them_is_not_done(
    autojump_clock: MockClock,
) -> None:
    world = ConnectedWorld()
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        peer = await world.connect(nursery)
        peer.transport.controls_left = 2
        pings = [MSGPACK.encode(Ping())] * 3
        peer.transport.arrive(*pings, *map(MSGPACK.encode, sends(5)))
        await peer.has_ended.wait()
        nursery.cancel_scope.cancel()

    assert len(peer.heard_of(Pong)) == 2
    assert peer.transport.close_code == 4429
    assert KEY not in world.log.records


@pytest.mark.parametrize("asked", [Resume(GlobalInboxSeq(10)), AckRead(TALK, BOB, ServerSeq(1))])
async def test_whoever_asks_for_refusals_without_end_is_cut_off(
    autojump_clock: MockClock, asked: ClientEvent
) -> None:
    world = ConnectedWorld(Limits(sends_per_second=1, sends_burst=2))
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        peer = await world.connect(nursery)
        for _ in range(100):
            peer.transport.arrive(MSGPACK.encode(asked))
        await peer.has_ended.wait()
        nursery.cancel_scope.cancel()

    assert peer.transport.close_code == 4429
    assert len(peer.errors) <= 2 + 9 * 2 + 1


async def test_others_have_their_turn_while_one_read_brings_many_events(
    autojump_clock: MockClock,
) -> None:
    world = ConnectedWorld()
    turns = 0

    async def bystander() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        peer = await world.connect(nursery)
        nursery.start_soon(bystander)
        await trio.lowlevel.checkpoint()
        before = turns
        peer.transport.arrive(*[MSGPACK.encode(Ping())] * 1_000)
        for _ in range(10_000):
            if peer.heard_of(Pong):
                break
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()

    assert turns - before >= 1_000 // 64
