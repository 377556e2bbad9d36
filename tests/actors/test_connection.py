"""A connection answers everything it takes, once, and keeps within its client's limits."""

from __future__ import annotations

import pytest
import trio
from msgspec import UNSET
from trio.testing import MockClock, wait_all_tasks_blocked

from actors.limits import Limits
from ksmp.codec import JSON, MSGPACK
from ksmp.errors import error
from ksmp.events import (
    About,
    AckRead,
    ClientEvent,
    Connected,
    Error,
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
    ConversationId,
    Epoch,
    GlobalInboxSeq,
    Nonce,
    ServerSeq,
    TimeMs,
)
from tests.actors.peers import STRANGER, ConnectedWorld, sends, sends_of_bob
from tests.actors.world import BOB, KEY, WALL_MS, envelope

FROM_THE_START = Resume(GlobalInboxSeq(0))
TALK = ConversationId("talk")


def about(sealed: Send) -> About:
    one = sealed.envelope
    return About(
        "ksmpv3.send",
        one.conversation_id,
        one.recipient_user_id,
        one.message_id,
        one.idempotency_key,
    )


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
            user_id=peer.connection._identity.user,
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
        reads, unanswered = peer.transport.reads, peer.connection._unanswered
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
        unanswered = peer.connection._unanswered
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
    assert len(world.log.records[KEY]) == 5
    assert world.router._under_way_bytes == 0
    assert world.inboxes._open == {}
    assert "connection.closed" in world.lines.events


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
