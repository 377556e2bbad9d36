"""What becomes of an envelope: acked once, refused by name, or answered as before (§5.5)."""

from __future__ import annotations

import pytest

from tests.wire.codecs import Codec
from tests.wire.connecting import Clients, StartRelay
from tests.wire.messages import envelope, fresh, send

pytestmark = pytest.mark.trio

Pair = tuple[str, str]


async def test_peers_entry_of_a_star_allows_everybody(client: Clients) -> None:
    alice = fresh("alice")
    async with client.connect(alice, token=client.issuer.token(alice, peers=["*"])) as peer:
        await peer.send(envelope(alice, "bob"))


@pytest.mark.parametrize("kind", ["text", "image", "voice", "system"])
async def test_every_content_type_is_authored_by_its_sender(kind: str, client: Clients) -> None:
    alice = fresh("alice")
    async with client.connect(alice) as peer:
        await peer.resume(0)
        await peer.send(envelope(alice, alice, contentType=kind))
        (frame,) = await peer.frames(1)
        assert frame.event["envelope"]["contentType"] == kind
        assert frame.event["envelope"]["senderUserId"] == alice


async def test_repeated_key_gets_the_same_bytes_and_no_second_delivery(
    client: Clients, codec: Codec, pair: Pair
) -> None:
    alice, bob = pair
    sent = envelope(alice, bob)
    async with client.connect(bob) as receiver:
        await receiver.resume(0)
        async with client.connect(alice, codec) as peer:
            first = await peer.answer_to(sent)
            assert (await peer.answer_to(sent)).raw == first.raw
        async with client.connect(alice, codec) as peer:
            await peer.send(envelope(alice, bob, conversationId=sent["conversationId"]))
            assert (await peer.answer_to(sent)).raw == first.raw
        received = [event["envelope"] for event in await receiver.receive_many(2)]
        assert [each["serverSeq"] for each in received] == [1, 2]
        assert received[0]["idempotencyKey"] == sent["idempotencyKey"]
        # What came after the retry is the very next thing that bob sees.
        async with client.connect(alice) as peer:
            await peer.send(envelope(alice, bob, conversationId=sent["conversationId"]))
        assert (await receiver.receive())["envelope"]["serverSeq"] == 3


async def test_duplicates_in_flight_together_are_one_record(
    client: Clients, codec: Codec, pair: Pair
) -> None:
    alice, bob = pair
    sent = envelope(alice, bob)
    async with client.connect(alice, codec) as peer:
        await peer.tell(*[send(sent)] * 20)
        answers = {(await peer.answer_about(sent)).raw for _ in range(20)}
        assert len(answers) == 1
        follower = envelope(alice, bob, conversationId=sent["conversationId"])
        assert (await peer.send(follower))["serverSeq"] == 2


async def test_message_id_need_not_be_unique(client: Clients, pair: Pair) -> None:
    alice, bob = pair
    sent = envelope(alice, bob)
    async with client.connect(alice) as peer:
        await peer.send(sent)
        again = await peer.send(sent | {"idempotencyKey": fresh("key")})
        assert (again["serverSeq"], again["messageId"]) == (2, sent["messageId"])


async def test_same_id_between_other_people_is_another_conversation(client: Clients) -> None:
    alice, bob, carol = fresh("alice"), fresh("bob"), fresh("carol")
    shared = {"conversationId": fresh("talk")}
    async with client.connect(alice) as a, client.connect(bob) as b, client.connect(carol) as c:
        assert (await a.send(envelope(alice, bob, **shared)))["serverSeq"] == 1
        assert (await a.send(envelope(alice, bob, **shared)))["serverSeq"] == 2
        assert (await c.send(envelope(carol, bob, **shared)))["serverSeq"] == 1
        assert (await a.send(envelope(alice, carol, **shared)))["serverSeq"] == 1
        assert (await b.send(envelope(bob, alice, **shared)))["serverSeq"] == 3
        assert (await b.send(envelope(bob, bob, **shared)))["serverSeq"] == 1


async def test_pipelined_sends_are_numbered_in_their_order(
    client: Clients, codec: Codec, pair: Pair
) -> None:
    alice, bob = pair
    conversation = fresh("talk")
    sent = [envelope(alice, bob, conversationId=conversation) for _ in range(100)]
    async with client.connect(alice, codec) as peer:
        await peer.tell(*map(send, sent))
        acks = [(await peer.answer_about(each)).event for each in sent]
    assert [ack["serverSeq"] for ack in acks] == list(range(1, 101))


async def test_two_devices_sending_at_once_share_one_numbering(client: Clients, pair: Pair) -> None:
    alice, bob = pair
    mine = [envelope(alice, bob, conversationId="talk") for _ in range(100)]
    async with client.connect(alice) as one, client.connect(alice, device="tablet") as two:
        for first, second in zip(mine[::2], mine[1::2], strict=True):
            await one.tell(send(first))
            await two.tell(send(second))
        by_one = [(await one.answer_about(each)).event["serverSeq"] for each in mine[::2]]
        by_two = [(await two.answer_about(each)).event["serverSeq"] for each in mine[1::2]]
    assert by_one == sorted(by_one)
    assert by_two == sorted(by_two)
    assert sorted(by_one + by_two) == list(range(1, 101))


async def test_refusals_that_are_no_breach_never_close(client: Clients, pair: Pair) -> None:
    alice, bob = pair
    async with client.connect(alice) as peer:
        for _ in range(10):
            answer = (await peer.answer_to(envelope(bob, alice))).event
            assert answer["code"] == "forbidden_sender"
        assert await peer.before_pong() == []


async def test_more_sends_than_may_be_unacked_are_all_acked_in_the_end(start: StartRelay) -> None:
    narrow = start(limits__unacked_sends=4)
    sent = [envelope("alice", "bob", conversationId="talk") for _ in range(100)]
    async with narrow.connect("alice") as peer:
        assert peer.connected["limits"]["maxUnackedSends"] == 4
        await peer.tell(*map(send, sent))
        acks = [(await peer.answer_about(each)).event["serverSeq"] for each in sent]
        assert acks == list(range(1, 101))
