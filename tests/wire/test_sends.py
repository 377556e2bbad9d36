"""What becomes of an envelope: acked once, refused by name, or answered as before (§5.5)."""

from __future__ import annotations

import pytest

from tests.wire.codecs import JSON, MSGPACK, Codec, Event
from tests.wire.connecting import Clients, StartRelay
from tests.wire.messages import about_send, envelope, fresh, ping, send

pytestmark = pytest.mark.trio

Pair = tuple[str, str]


def assert_refused(error: Event, code: str, about: Event) -> None:
    """`error` is the final refusal of the event in `about`, with every field it must have."""
    assert list(error) == ["type", "code", "message", "retryable", "action", "about"]
    assert {name: error[name] for name in error if name != "message"} == {
        "type": "ksmpv3.error",
        "code": code,
        "retryable": False,
        "action": "fix",
        "about": about,
    }
    assert list(error["about"]) == list(about)


async def test_sender_must_be_the_authenticated_user(
    client: Clients, codec: Codec, pair: Pair
) -> None:
    alice, bob = pair
    async with client.connect(alice, codec) as peer:
        for forged in (envelope(bob, alice), envelope(bob, "carol"), envelope(alice.upper(), bob)):
            answer = (await peer.answer_to(forged)).event
            assert_refused(answer, "forbidden_sender", about_send(forged))


async def test_peers_claim_limits_whom_one_may_write_to(client: Clients, codec: Codec) -> None:
    alice = fresh("alice")
    token = client.issuer.token(alice, peers=["bob", "team.*"])
    async with client.connect(alice, codec, token=token) as peer:
        for allowed in ("bob", "team.", "team.carol"):
            await peer.send(envelope(alice, allowed))
        for forbidden in ("bobby", "bo", "team", "Team.carol", "carol"):
            sent = envelope(alice, forbidden)
            answer = (await peer.answer_to(sent)).event
            assert_refused(answer, "forbidden_recipient", about_send(sent))


async def test_empty_peers_claim_allows_nobody(client: Clients) -> None:
    alice = fresh("alice")
    async with client.connect(alice, token=client.issuer.token(alice, peers=[])) as peer:
        sent = envelope(alice, "bob")
        answer = (await peer.answer_to(sent)).event
        assert_refused(answer, "forbidden_recipient", about_send(sent))


async def test_peers_entry_of_a_star_allows_everybody(client: Clients) -> None:
    alice = fresh("alice")
    async with client.connect(alice, token=client.issuer.token(alice, peers=["*"])) as peer:
        await peer.send(envelope(alice, "bob"))


async def test_ciphertext_may_be_as_large_as_the_limit_and_no_larger(
    client: Clients, codec: Codec, pair: Pair
) -> None:
    alice, bob = pair
    async with client.connect(alice, codec) as peer:
        limit = peer.connected["limits"]["maxCiphertextBytes"]
        await peer.send(envelope(alice, bob, ciphertext=b"x"))
        await peer.send(envelope(alice, bob, ciphertext=b"x" * limit))
        large = envelope(alice, bob, ciphertext=b"x" * (limit + 1))
        assert_refused((await peer.answer_to(large)).event, "too_large", about_send(large))


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


CHANGES: dict[str, object] = {
    "messageId": "another-message",
    "ciphertext": b"another ciphertext",
    "contentType": "image",
    "clientCreatedAtMs": 5,
}


async def test_repeated_key_with_any_other_payload_is_a_conflict(
    client: Clients, codec: Codec, pair: Pair
) -> None:
    alice, bob = pair
    sent = envelope(alice, bob)
    async with client.connect(alice, codec) as peer:
        first = await peer.answer_to(sent)
        for field, value in CHANGES.items():
            changed = sent | {field: value}
            answer = (await peer.answer_to(changed)).event
            assert_refused(answer, "idempotency_conflict", about_send(changed))
        assert (await peer.answer_to(sent)).raw == first.raw


async def test_conflict_in_flight_with_its_original_is_judged_after_it(
    client: Clients, pair: Pair
) -> None:
    alice, bob = pair
    sent = envelope(alice, bob)
    async with client.connect(alice) as peer:
        await peer.tell(send(sent), send(sent | {"ciphertext": b"other"}))
        answers = [(await peer.answer_about(sent)).event for _ in range(2)]
        assert answers[0]["type"] == "ksmpv3.send.ack"
        assert answers[1]["code"] == "idempotency_conflict"


async def test_key_belongs_to_one_sender_and_one_conversation(client: Clients, pair: Pair) -> None:
    alice, bob = pair
    sent = envelope(alice, bob)
    async with client.connect(alice) as one, client.connect(bob) as other:
        assert (await one.send(sent))["serverSeq"] == 1
        theirs = envelope(
            bob,
            alice,
            conversationId=sent["conversationId"],
            idempotencyKey=sent["idempotencyKey"],
        )
        assert (await other.send(theirs))["serverSeq"] == 2
        assert (await one.send(sent | {"conversationId": fresh("other")}))["serverSeq"] == 1
        assert (await one.send(sent | {"recipientUserId": "carol"}))["serverSeq"] == 1


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


async def test_refused_send_takes_no_number(client: Clients, pair: Pair) -> None:
    alice, bob = pair
    first = envelope(alice, bob)
    talk = {"conversationId": first["conversationId"]}
    async with client.connect(alice) as peer:
        await peer.tell(
            send(first),
            send(envelope(bob, alice, **talk)),
            send(first | {"ciphertext": b"other"}),
        )
        third = envelope(alice, bob, **talk)
        assert (await peer.send(third))["serverSeq"] == 2


@pytest.mark.parametrize("breach", ["malformed", "unknown_event"])
async def test_fourth_breach_in_ten_seconds_is_answered_and_then_closed(
    breach: str, client: Clients, codec: Codec
) -> None:
    bad = {"malformed": ping() | {"extra": 1}, "unknown_event": {"type": "ksmpv3.none"}}[breach]
    async with client.connect(fresh("user"), codec) as peer:
        await peer.tell(bad, bad, bad)
        assert [(await peer.error())["code"] for _ in range(3)] == [breach] * 3
        assert await peer.before_pong() == []
        await peer.tell(bad)
        assert await peer.close_code() == 4400
        assert [event["code"] for event in peer.kept()] == [breach]


async def test_breaches_of_both_kinds_are_counted_together(client: Clients) -> None:
    malformed, unknown = ping() | {"extra": 1}, {"type": "ksmpv3.none"}
    async with client.connect(fresh("user")) as peer:
        await peer.tell(malformed, unknown, malformed, unknown)
        assert await peer.close_code() == 4400
        assert [event["code"] for event in peer.kept()] == ["malformed", "unknown_event"] * 2


async def test_refusals_that_are_no_breach_never_close(client: Clients, pair: Pair) -> None:
    alice, bob = pair
    async with client.connect(alice) as peer:
        for _ in range(10):
            answer = (await peer.answer_to(envelope(bob, alice))).event
            assert answer["code"] == "forbidden_sender"
        assert await peer.before_pong() == []


async def test_message_of_a_code_is_constant(client: Clients, pair: Pair) -> None:
    alice, bob = pair
    texts = set()
    for codec in (JSON, MSGPACK):
        async with client.connect(alice, codec) as peer:
            for forged in (envelope(bob, alice), envelope("carol", alice)):
                texts.add((await peer.answer_to(forged)).event["message"])
    assert len(texts) == 1


async def test_more_sends_than_may_be_unacked_are_all_acked_in_the_end(start: StartRelay) -> None:
    narrow = start(limits__unacked_sends=4)
    sent = [envelope("alice", "bob", conversationId="talk") for _ in range(100)]
    async with narrow.connect("alice") as peer:
        assert peer.connected["limits"]["maxUnackedSends"] == 4
        await peer.tell(*map(send, sent))
        acks = [(await peer.answer_about(each)).event["serverSeq"] for each in sent]
        assert acks == list(range(1, 101))
