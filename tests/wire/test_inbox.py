"""Delivery: every record once, in order, linked and chained, to every device of both (§5)."""

from __future__ import annotations

import pytest
import trio

from tests.wire.chain import assert_chained, chain_base
from tests.wire.codecs import JSON, MSGPACK, Codec, Event
from tests.wire.connecting import Clients
from tests.wire.messages import envelope, fresh, resume, send
from tests.wire.raw import message

pytestmark = pytest.mark.trio

Pair = tuple[str, str]


def assert_linked(frames: list[Event], cursor: int = 0) -> None:
    """The client's whole rule: every frame follows the one before it, without a gap."""
    for frame in frames:
        assert frame["previousGlobalInboxSeq"] == cursor
        assert frame["globalInboxSeq"] > cursor
        cursor = frame["globalInboxSeq"]


async def test_every_device_of_both_participants_gets_every_record(
    client: Clients, pair: Pair
) -> None:
    alice, bob = pair
    async with (
        client.connect(alice) as sender,
        client.connect(alice, device="tablet") as tablet,
        client.connect(bob) as receiver,
        client.connect(bob, JSON, device="tablet") as other_receiver,
    ):
        peers = [sender, tablet, receiver, other_receiver]
        for peer in peers:
            await peer.resume(0)
        sent = [envelope(alice, bob) for _ in range(3)]
        for each in sent:
            await sender.send(each)
        for peer in peers:
            frames = [frame.event for frame in await peer.frames(3)]
            assert_linked(frames)
            assert [frame["envelope"]["messageId"] for frame in frames] == [
                each["messageId"] for each in sent
            ]


async def test_nobody_else_gets_a_record(client: Clients, pair: Pair) -> None:
    alice, bob = pair
    eve = fresh("eve")
    async with client.connect(alice) as sender, client.connect(eve) as outsider:
        await outsider.resume(0)
        secret = envelope(alice, bob)
        await sender.send(secret)
        await outsider.send(envelope(eve, eve, conversationId=secret["conversationId"]))
        (frame,) = await outsider.frames(1)
        assert frame.event["envelope"]["senderUserId"] == eve
        assert frame.event["previousGlobalInboxSeq"] == 0
        assert await outsider.before_pong() == []


async def test_conversation_with_oneself_is_one_row_and_one_frame(
    client: Clients, codec: Codec
) -> None:
    alice = fresh("alice")
    async with client.connect(alice, codec) as peer:
        await peer.resume(0)
        acks = [await peer.send(envelope(alice, alice, conversationId="notes")) for _ in range(2)]
        frames = [frame.event for frame in await peer.frames(2)]
        assert await peer.before_pong() == []
    assert [ack["recipientUserId"] for ack in acks] == [alice, alice]
    assert [frame["envelope"]["serverSeq"] for frame in frames] == [1, 2]
    assert_linked(frames)
    assert_chained(chain_base("notes", alice, alice), frames)
    async with client.connect(alice, codec) as peer:
        replayed = await peer.resume(0)
        assert [frame.event for frame in replayed[:-1]] == frames


async def test_chain_is_the_one_computed_from_the_definition(client: Clients, pair: Pair) -> None:
    alice, bob = pair
    conversation = fresh("talk")
    async with client.connect(alice) as a, client.connect(bob, JSON) as b:
        await a.resume(0)
        await b.resume(0)
        acks = []
        for number in range(6):
            sender, peer, other = (alice, a, bob) if number % 2 else (bob, b, alice)
            acks.append(await peer.send(envelope(sender, other, conversationId=conversation)))
        seen_by_a = [frame.event for frame in await a.frames(6)]
        seen_by_b = [frame.event for frame in await b.frames(6)]

    base = chain_base(conversation, alice, bob)
    assert base == chain_base(conversation, bob, alice)
    assert assert_chained(base, seen_by_a) == assert_chained(base, seen_by_b)
    assert [ack["chain"] for ack in acks] == [frame["chain"] for frame in seen_by_a]


async def test_inbox_links_records_of_all_conversations_in_one_stream(client: Clients) -> None:
    alice, others = fresh("alice"), [fresh("friend") for _ in range(3)]
    async with client.connect(alice) as peer:
        await peer.resume(0)
        sent = [envelope(alice, others[n % 3], conversationId="talk") for n in range(30)]
        await peer.tell(*map(send, sent))
        frames = [frame.event for frame in await peer.frames(30)]

    assert_linked(frames)
    for other in others:
        of_one = [f for f in frames if f["envelope"]["recipientUserId"] == other]
        assert [f["envelope"]["serverSeq"] for f in of_one] == list(range(1, 11))
        assert_chained(chain_base("talk", alice, other), of_one)


async def test_acks_move_no_cursor(client: Clients, pair: Pair) -> None:
    alice, bob = pair
    async with client.connect(alice) as peer:
        await peer.send(envelope(alice, bob))
        await peer.send(envelope(alice, bob))
        frames = [frame.event for frame in await peer.resume(0)][:-1]
        assert_linked(frames)
        assert len(frames) == 2


async def test_no_frame_comes_before_a_good_resume(client: Clients, pair: Pair) -> None:
    alice, bob = pair
    async with (
        client.connect(alice) as sender,
        client.connect(bob) as waiting,
        client.connect(bob, device="resumed") as resumed,
    ):
        await resumed.resume(0)
        await sender.send(envelope(alice, bob))
        await resumed.frames(1)
        assert await waiting.before_pong() == []
        assert len(await waiting.resume(0)) == 2


@pytest.mark.parametrize("live_codec", [JSON, MSGPACK], ids=repr)
async def test_replay_equals_live_byte_for_byte(
    live_codec: Codec, client: Clients, pair: Pair
) -> None:
    alice, bob = pair
    async with (
        client.connect(alice, JSON) as sender,
        client.connect(bob, live_codec) as live,
    ):
        await live.resume(0)
        for size in (1, 31, 32, 255, 256, 65_535, 65_536, 100_000):
            await sender.send(envelope(alice, bob, ciphertext=bytes(size), conversationId="talk"))
        seen_live = [frame.raw for frame in await live.frames(8)]
    for _ in range(2):
        async with client.connect(bob, live_codec) as again:
            assert [frame.raw for frame in (await again.resume(0))[:-1]] == seen_live


async def test_client_that_stops_reading_holds_up_nobody_and_misses_nothing(
    client: Clients, pair: Pair
) -> None:
    alice, bob = pair
    large = {"conversationId": "talk", "ciphertext": bytes(200_000)}
    sent = [envelope(alice, bob, **large) for _ in range(60)]
    with client.connect_raw(bob, device="stuck") as stuck:
        stuck.send(message(JSON.encode(resume(0))))
        async with client.connect(alice) as sender, client.connect(bob) as other:
            await other.resume(0)
            for each in sent:
                await sender.send(each)
            frames = [frame.event for frame in await other.frames(len(sent))]
        received = await trio.to_thread.run_sync(
            lambda: [stuck.event() for _ in range(len(sent) + 1)]
        )
    assert_linked(frames)
    assert [event for event in received if event["type"] == "ksmpv3.inbox.frame"] == frames
