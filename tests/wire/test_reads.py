"""How far someone has read: cumulative, public or private, told again after a resume (§§3, 4)."""

from __future__ import annotations

import time

import pytest

from tests.wire.clients import Peer
from tests.wire.codecs import Codec, Event
from tests.wire.connecting import Clients, StartRelay
from tests.wire.messages import ack_read, envelope

pytestmark = pytest.mark.trio

Pair = tuple[str, str]
TALK = "talk"
READ = ["type", "conversationId", "readerUserId", "peerUserId", "serverSeq", "readAtMs"]


async def _fill(client: Clients, pair: Pair, count: int = 5) -> None:
    alice, bob = pair
    async with client.connect(alice) as sender:
        for _ in range(count):
            await sender.send(envelope(alice, bob, conversationId=TALK))


async def _mark(peer: Peer, other: str, server_seq: int, **fields: object) -> Event:
    """Acknowledge reading; the answer."""
    await peer.tell(ack_read(TALK, other, server_seq, **fields))
    return await peer.next_of("read")


async def test_reader_is_answered_and_the_peer_is_told(
    client: Clients, codec: Codec, pair: Pair
) -> None:
    alice, bob = pair
    await _fill(client, pair)
    async with client.connect(bob, codec) as reader, client.connect(alice, codec) as writer:
        await writer.resume(None)
        answer = await _mark(reader, alice, 3)
        assert list(answer) == READ
        assert answer | {"readAtMs": 0} == {
            "type": "ksmpv3.read",
            "conversationId": TALK,
            "readerUserId": bob,
            "peerUserId": alice,
            "serverSeq": 3,
            "readAtMs": 0,
        }
        assert abs(answer["readAtMs"] - time.time() * 1000) < 60_000
        assert await writer.next_of("read") == answer


async def test_sender_may_acknowledge_too(client: Clients, pair: Pair) -> None:
    alice, bob = pair
    await _fill(client, pair)
    async with client.connect(alice) as peer:
        assert (await _mark(peer, bob, 5))["readerUserId"] == alice


async def test_maximum_is_kept_and_every_acknowledgement_answered(
    client: Clients, codec: Codec, pair: Pair
) -> None:
    alice, bob = pair
    await _fill(client, pair)
    async with client.connect(bob, codec) as reader:
        answers = [await _mark(reader, alice, seq) for seq in (2, 4, 3, 4, 1, 5)]
    assert [answer["serverSeq"] for answer in answers] == [2, 4, 4, 4, 4, 5]


async def test_own_devices_learn_of_a_private_read_and_the_peer_does_not(
    client: Clients, pair: Pair
) -> None:
    alice, bob = pair
    await _fill(client, pair)
    async with (
        client.connect(bob) as reader,
        client.connect(bob, device="tablet") as tablet,
        client.connect(alice) as writer,
    ):
        await tablet.resume(None)
        await writer.resume(None)
        tablet_sees, writer_sees = [], []
        assert (await _mark(reader, alice, 4, private=True))["serverSeq"] == 4
        tablet_sees.append((await tablet.next_of("read"))["serverSeq"])
        # A lower public one is news to the peer, and changes nothing for the reader.
        assert (await _mark(reader, alice, 2, private=False))["serverSeq"] == 4
        writer_sees.append((await writer.next_of("read"))["serverSeq"])
        assert (await _mark(reader, alice, 5))["serverSeq"] == 5
        writer_sees.append((await writer.next_of("read"))["serverSeq"])
        tablet_sees.append(
            (await tablet.until(lambda e: e.get("serverSeq") == 5)).event["serverSeq"]
        )
    assert tablet_sees == [4, 5]
    assert writer_sees == [2, 5]


async def test_private_reads_are_replayed_to_their_reader_alone(
    client: Clients, pair: Pair
) -> None:
    alice, bob = pair
    await _fill(client, pair)
    async with client.connect(bob) as reader:
        await _mark(reader, alice, 2)
        await _mark(reader, alice, 4, private=True)
    assert await _replayed_reads(client, bob, 0) == {bob: 4}
    assert await _replayed_reads(client, alice, 0) == {bob: 2}


async def test_reads_are_replayed_behind_the_frames_and_before_the_end(
    client: Clients, codec: Codec, pair: Pair
) -> None:
    alice, bob = pair
    await _fill(client, pair)
    async with client.connect(bob) as reader, client.connect(alice) as other:
        marked = [await _mark(reader, alice, 3), await _mark(other, bob, 5)]
    for user in pair:
        async with client.connect(user, codec) as peer:
            received = [frame.event for frame in await peer.resume(0)]
        kinds = [event["type"] for event in received]
        assert kinds[:5] == ["ksmpv3.inbox.frame"] * 5
        assert set(kinds[5:-1]) == {"ksmpv3.read"}
        assert kinds[-1] == "ksmpv3.resume.complete"
        assert all(each in received for each in marked)


async def test_reads_stored_at_the_cursor_or_later_are_replayed(
    client: Clients, pair: Pair
) -> None:
    alice, bob = pair
    await _fill(client, pair)
    async with client.connect(bob) as reader:
        head = reader.connected["headGlobalInboxSeq"]
        await _mark(reader, alice, 3)
    for cursor in (0, head - 1, head):
        assert await _replayed_reads(client, bob, cursor) == {bob: 3}
    await _fill(client, pair, 1)
    async with client.connect(bob) as peer:
        later = peer.connected["headGlobalInboxSeq"]
    assert later > head
    assert await _replayed_reads(client, bob, head) == {bob: 3}
    assert await _replayed_reads(client, bob, later) == {}
    # A higher mark is stored anew, with the head of now.
    async with client.connect(bob) as reader:
        await _mark(reader, alice, 6)
    assert await _replayed_reads(client, bob, later) == {bob: 6}


async def _replayed_reads(client: Clients, user: str, cursor: int) -> dict[str, int]:
    """What a resume tells of reading: the highest place of each reader."""
    async with client.connect(user) as peer:
        events = [frame.event for frame in await peer.resume(cursor)]
    places: dict[str, int] = {}
    for event in events:
        if event["type"] == "ksmpv3.read":
            reader = event["readerUserId"]
            places[reader] = max(places.get(reader, 0), event["serverSeq"])
    return places


@pytest.mark.promises("I11", "I13")
async def test_reads_survive_a_restart_and_a_crash(start: StartRelay) -> None:
    own = start()
    await _fill(own, ("alice", "bob"))
    async with own.connect("bob") as reader:
        await _mark(reader, "alice", 3)
    own.relay.crash()
    assert await _replayed_reads(own, "alice", 0) == {"bob": 3}
    own.relay.restart()
    async with own.connect("bob") as reader:
        assert (await _mark(reader, "alice", 1))["serverSeq"] == 3
