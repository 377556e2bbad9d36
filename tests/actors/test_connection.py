"""A connection answers everything it takes, once, and keeps within its client's limits."""

from __future__ import annotations

import pytest
import trio
from msgspec import UNSET
from trio.testing import MockClock

from actors.limits import Limits
from ksmp.errors import error
from ksmp.events import (
    About,
    AckRead,
    ClientEvent,
    Connected,
    InboxFrame,
    Ping,
    Pong,
    Read,
    Resume,
    ResumeComplete,
    Send,
    SendAck,
)
from ksmp.events import Limits as ClientLimits
from ksmp.types import (
    Epoch,
    GlobalInboxSeq,
    Nonce,
    ServerSeq,
    TimeMs,
)
from tests.actors.peers import FROM_THE_START, STRANGER, ConnectedWorld, about, sends, sends_of_bob
from tests.actors.world import BOB, KEY, TALK, WALL_MS, envelope

pytestmark = pytest.mark.usefixtures("both_ways_in")

# ── what it says ─────────────────────────────────────────────────────────────────────────────


async def test_connected_comes_first_and_tells_what_a_client_needs(
    autojump_clock: MockClock,
) -> None:
    limits = Limits(unacked_sends=7, sends_per_second=8, sends_burst=9, keepalive_seconds=2.5)
    world = ConnectedWorld(limits)
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        other = await world.connect(nursery, BOB)
        await other.say(*sends_of_bob(3))
        peer = await world.connect(nursery, expires_in_seconds=60)
        nursery.cancel_scope.cancel()

    assert peer.heard == [
        Connected(
            protocol="ksmpv3",
            user_id=peer.connection._session.identity.user,
            device_id=peer.connection.device,
            connection_id=peer.connection._id,
            server_time_ms=TimeMs(WALL_MS),
            epoch=Epoch("epoch-1"),
            head_global_inbox_seq=GlobalInboxSeq(3),
            truncated_through=GlobalInboxSeq(0),
            keepalive_ms=2_500,
            token_expires_at_ms=TimeMs(WALL_MS + 60_000),
            extensions=("auth", "chain", "read", "resume.complete"),
            limits=ClientLimits(256 * 1024, 400 * 1024, 7, 8, 9, None),
        )
    ]


async def test_a_send_is_acknowledged_and_comes_to_every_resumed_device_of_both(
    autojump_clock: MockClock,
) -> None:
    world = ConnectedWorld()
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        alice = await world.connect(nursery)
        tablet = await world.connect(nursery, device="tablet")
        bob = await world.connect(nursery, BOB)
        silent = await world.connect(nursery, BOB, device="not-resumed")
        for peer in (alice, tablet, bob):
            await peer.say(FROM_THE_START)
        await alice.say(*sends(3))
        nursery.cancel_scope.cancel()

    frames = alice.heard_of(InboxFrame)
    assert [ack.server_seq for ack in alice.heard_of(SendAck)] == [1, 2, 3]
    assert [frame.envelope.idempotency_key for frame in frames] == ["key-0", "key-1", "key-2"]
    assert tablet.heard_of(InboxFrame) == bob.heard_of(InboxFrame) == frames
    assert tablet.heard_of(SendAck) == bob.heard_of(SendAck) == []
    assert [type(event) for event in silent.heard] == [Connected]


async def test_a_ping_gets_its_nonce_back(autojump_clock: MockClock) -> None:
    world = ConnectedWorld()
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        peer = await world.connect(nursery)
        await peer.say(Ping(Nonce("once")), Ping())
        nursery.cancel_scope.cancel()

    assert peer.heard[1:] == [Pong(Nonce("once"), TimeMs(WALL_MS)), Pong(UNSET, TimeMs(WALL_MS))]


async def test_a_read_is_answered_to_its_asker_and_told_to_the_others(
    autojump_clock: MockClock,
) -> None:
    world = ConnectedWorld()
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        alice = await world.connect(nursery)
        bob = await world.connect(nursery, BOB)
        await bob.say(FROM_THE_START, *sends_of_bob(3))
        await alice.say(AckRead(TALK, BOB, ServerSeq(2)))
        nursery.cancel_scope.cancel()

    assert [read.server_seq for read in alice.heard_of(Read)] == [2]
    assert bob.heard_of(Read) == alice.heard_of(Read)


# ── what it refuses ──────────────────────────────────────────────────────────────────────────

FOREIGN = Send(envelope("foreign", sender=BOB, recipient=BOB))
TO_A_STRANGER = Send(envelope("stranger", recipient=STRANGER))
LARGE = Send(envelope("large", text=b"x" * 1_001))
CONFLICT = Send(envelope("key-0", text=b"another"))
NO_SUCH_RECORD = AckRead(TALK, BOB, ServerSeq(2))

REFUSALS = {
    "ciphertext over the limit": (LARGE, error("too_large", about(LARGE))),
    "another's name": (FOREIGN, error("forbidden_sender", about(FOREIGN))),
    "a recipient outside the token": (
        TO_A_STRANGER,
        error("forbidden_recipient", about(TO_A_STRANGER)),
    ),
    "a known key with another payload": (CONFLICT, error("idempotency_conflict", about(CONFLICT))),
    "reading what is not there": (
        NO_SUCH_RECORD,
        error("invalid_seq", About("ksmpv3.ack.read", TALK)),
    ),
    "a cursor above the head": (
        Resume(GlobalInboxSeq(2)),
        error("cursor_ahead", About("ksmpv3.resume"), head_global_inbox_seq=GlobalInboxSeq(1)),
    ),
    "a cursor of another epoch": (
        Resume(GlobalInboxSeq(0), Epoch("another")),
        error(
            "epoch_changed",
            About("ksmpv3.resume"),
            epoch=Epoch("epoch-1"),
            head_global_inbox_seq=GlobalInboxSeq(1),
        ),
    ),
    "another epoch comes before a cursor above the head": (
        Resume(GlobalInboxSeq(2), Epoch("another")),
        error(
            "epoch_changed",
            About("ksmpv3.resume"),
            epoch=Epoch("epoch-1"),
            head_global_inbox_seq=GlobalInboxSeq(1),
        ),
    ),
}


@pytest.mark.parametrize(("event", "answer"), REFUSALS.values(), ids=REFUSALS.keys())
async def test_a_refusal_says_what_it_is_about_stores_nothing_and_the_connection_goes_on(
    autojump_clock: MockClock, event: ClientEvent, answer: object
) -> None:
    world = ConnectedWorld(Limits(max_ciphertext_bytes=1_000))
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        peer = await world.connect(nursery)
        await peer.say(*sends(1))
        await peer.say(event)
        refusal = peer.heard[-1]
        await peer.say(FROM_THE_START)
        is_served = await peer.is_served()
        nursery.cancel_scope.cancel()

    assert refusal == answer
    assert peer.frames == [1]
    assert len(world.log.records) == len(world.log.records[KEY]) == 1
    assert is_served


async def test_a_second_resume_after_a_good_one_is_refused_and_after_a_bad_one_is_not(
    autojump_clock: MockClock,
) -> None:
    world = ConnectedWorld()
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        peer = await world.connect(nursery)
        await peer.say(Resume(GlobalInboxSeq(9)), Resume(None, Epoch("ignored")), FROM_THE_START)
        await peer.say(*sends(1))
        nursery.cancel_scope.cancel()

    assert peer.errors == ["cursor_ahead", "already_resumed"]
    assert peer.heard_of(ResumeComplete) == [ResumeComplete(GlobalInboxSeq(0))]
    assert peer.frames == [1]


# ── what it does when it is over ─────────────────────────────────────────────────────────────


async def test_a_client_that_hangs_up_leaves_nothing_behind(autojump_clock: MockClock) -> None:
    world = ConnectedWorld()
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        tasks = trio.lowlevel.current_statistics().tasks_living
        peer = await world.connect(nursery)
        await peer.say(FROM_THE_START)
        world.log.is_held = True
        await peer.say(*sends(5))
        peer.transport.hang_up()
        await peer.has_ended.wait()
        world.log.release()  # its answers come when it has gone
        await trio.sleep(60)
        assert trio.lowlevel.current_statistics().tasks_living == tasks
        nursery.cancel_scope.cancel()

    assert peer.transport.is_released
    assert peer.transport.pings == 0
    assert world.alarms._due == []
    assert len(world.log.records[KEY]) == 5
    assert world.router._under_way_bytes == 0
    assert world.inboxes._open == {}
    assert "connection.closed" in world.lines.events


async def test_a_device_that_has_gone_is_delivered_to_no_more_and_the_others_are(
    autojump_clock: MockClock,
) -> None:
    world = ConnectedWorld()
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        gone = await world.connect(nursery, BOB, "gone")
        stays = await world.connect(nursery, BOB, "stays")
        for peer in (gone, stays):
            await peer.say(FROM_THE_START)
        gone.transport.hang_up()
        await gone.has_ended.wait()
        readers = list(stays.connection._inbox.readers)
        alice = await world.connect(nursery)
        await alice.say(*sends(2))
        nursery.cancel_scope.cancel()

    assert readers == ["stays"]
    assert (gone.frames, stays.frames) == ([], [1, 2])


async def test_a_retry_after_a_reconnect_gets_the_same_acknowledgement_and_no_second_record(
    autojump_clock: MockClock,
) -> None:
    world = ConnectedWorld()
    acks = []
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        for device in ("phone", "phone", "tablet"):
            peer = await world.connect(nursery, device=device)
            await peer.say(*sends(1))
            acks += [message for message in peer.transport.sent if b"send.ack" in message]
        nursery.cancel_scope.cancel()

    assert len(acks) == 3
    assert len(set(acks)) == 1
    assert len(world.log.records[KEY]) == 1


async def test_the_life_of_a_message_is_told_without_its_names(autojump_clock: MockClock) -> None:
    world = ConnectedWorld()
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        peer = await world.connect(nursery)
        await peer.say(FROM_THE_START, Send(envelope("canary-1", text=b"canary-2")))
        nursery.cancel_scope.cancel()

    assert len(peer.heard_of(SendAck)) == 1
    for event in ("connection.opened", "event.received", "send.routed", "send.acked"):
        assert event in world.lines.events
    assert "canary" not in repr(world.lines.lines)


@pytest.mark.parametrize("asked", [FROM_THE_START, Resume(None)])
async def test_a_resume_that_comes_alone_is_answered_at_once(
    autojump_clock: MockClock, asked: Resume
) -> None:
    world = ConnectedWorld()
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        peer = await world.connect(nursery)
        await peer.say(asked)
        nursery.cancel_scope.cancel()

    assert peer.heard_of(ResumeComplete) == [ResumeComplete(GlobalInboxSeq(0))]
