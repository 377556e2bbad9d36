"""State: sends in another's name, of a known key, of too much."""

from __future__ import annotations

from typing import Final

from tests.edge.answers import goes_on
from tests.edge.case import Case
from tests.edge.connection import Connection
from tests.edge.refusing import BOTH, about
from tests.edge.stage import Stage
from tests.wire.codecs import JSON, MSGPACK, Codec, Event
from tests.wire.messages import send

STATE: Final = "State"
SEND: Final = "ksmpv3.send"
PROMISED: Final = "What is promised"


async def _offer(connection: Connection, envelope: Event) -> Event:
    """Send an envelope, which must be acked; the ack."""
    await connection.tell(send(envelope))
    return await connection.ack_of(envelope)


async def _assert_refused(connection: Connection, envelope: Event, code: str) -> None:
    await connection.tell(send(envelope))
    await connection.error(code, about(send(envelope)))


async def _forged_sender(stage: Stage) -> None:
    for codec in BOTH:
        async with stage.connect(codec) as connection:
            victim, user = stage.fresh("victim"), connection.user
            for sender, recipient in ((victim, user), (victim, victim), (user.upper(), victim)):
                forged = connection.envelope(recipient, senderUserId=sender)
                await _assert_refused(connection, forged, "forbidden_sender")
            # A forged one takes no number: the conversation begins with the good one.
            talk = stage.fresh("talk")
            forged = connection.envelope(user, senderUserId=victim, conversationId=talk)
            await _assert_refused(connection, forged, "forbidden_sender")
            good = connection.envelope(victim, conversationId=talk)
            assert (await _offer(connection, good))["serverSeq"] == 1
            await connection.still_works()


async def _forbidden_recipient(stage: Stage) -> None:
    friend, team = stage.fresh("friend"), stage.fresh("team")
    for codec in BOTH:
        user = stage.fresh("user")
        # Ten good events are sent to strangers: they come from a device with a token for all.
        token = stage.token(user, peers=[friend, f"{team}.*"])
        async with stage.connect_fresh(codec, user=user, token=token) as connection:
            for allowed in (friend, f"{team}.", f"{team}.carol"):
                await _offer(connection, connection.envelope(allowed))
            for other in (f"{friend}x", friend[:-1], team, f"{team.upper()}.carol", user):
                forbidden = connection.envelope(other)
                await _assert_refused(connection, forbidden, "forbidden_recipient")
            await _offer(connection, connection.envelope(friend))
        async with stage.connect_fresh(codec, token=stage.token(peers=[])) as connection:
            await _assert_refused(connection, connection.envelope(), "forbidden_recipient")


async def _raw_ack(connection: Connection, envelope: Event) -> bytes:
    """The bytes of the ack: they are canonical, so they follow from its decoded fields."""
    await connection.tell(send(envelope))
    while (frame := await connection.line.frame()) is not None:
        if b"ksmpv3.send.ack" in frame.payload[:40]:
            return frame.payload
    raise AssertionError("the connection ended")


async def _same_again(stage: Stage) -> None:
    for codec in BOTH:
        async with stage.connect(codec) as connection:
            sent = connection.envelope()
            first = await _raw_ack(connection, sent)
            assert [await _raw_ack(connection, sent) for _ in range(2)] == [first] * 2
            device = {"device": stage.fresh("device")}
            async with stage.connect_fresh(codec, user=connection.user, **device) as other:
                assert await _raw_ack(other, sent) == first
            follower = sent | {"idempotencyKey": stage.fresh("key")}
            assert (await _offer(connection, follower))["serverSeq"] == 2
            assert await _raw_ack(connection, sent) == first
        await _assert_same_in_the_other_subprotocol(stage, codec, sent, first)


async def _assert_same_in_the_other_subprotocol(
    stage: Stage, codec: Codec, sent: Event, first: bytes
) -> None:
    other = MSGPACK if codec is JSON else JSON
    async with stage.connect_fresh(other) as connection:
        ack = await _offer(connection, sent)
        text = first.decode() if codec is JSON else first
        assert ack == codec.decode(text), ack


CONFLICTS: Final[dict[str, object]] = {
    "messageId": "another-message",
    "ciphertext": b"another ciphertext",
    "contentType": "image",
    "clientCreatedAtMs": 5,
}


async def _other_payload(stage: Stage) -> None:
    """Each of the nine fields changed: four are in conflict, the others make it another send."""
    for codec in BOTH:
        async with stage.connect(codec) as connection:
            sent = connection.envelope()
            ack = await _offer(connection, sent)
            for field, value in CONFLICTS.items():
                changed = sent | {field: value}
                await _assert_refused(connection, changed, "idempotency_conflict")
            await _assert_refused(connection, sent | {"protocol": "ksmpv4"}, "malformed")
            forged = sent | {"senderUserId": stage.fresh("other")}
            await _assert_refused(connection, forged, "forbidden_sender")
            for field in ("conversationId", "recipientUserId"):
                other = await _offer(connection, sent | {field: stage.fresh("other")})
                assert other["serverSeq"] == 1, other
            follower = await _offer(connection, sent | {"idempotencyKey": stage.fresh("key")})
            assert follower["serverSeq"] == 2, follower
            assert await _offer(connection, sent) == ack
            await connection.still_works()


async def _conflict_in_flight(stage: Stage) -> None:
    for codec in BOTH:
        async with stage.connect(codec) as connection:
            sent = connection.envelope()
            changed = sent | {"ciphertext": b"other"}
            await connection.tell(send(sent), send(changed), send(sent))
            ack = await connection.ack_of(sent)
            await connection.error("idempotency_conflict", about(send(changed)))
            assert await connection.event() == ack
            await connection.still_works()


async def _key_of_another(stage: Stage) -> None:
    for codec in BOTH:
        alice, bob = stage.fresh("alice"), stage.fresh("bob")
        async with (
            stage.connect(codec, user=alice) as one,
            stage.connect(codec, user=bob) as other,
        ):
            sent = one.envelope(bob)
            shared = {name: sent[name] for name in ("conversationId", "idempotencyKey")}
            assert (await _offer(one, sent))["serverSeq"] == 1
            theirs = other.envelope(alice, **shared)
            assert (await _offer(other, theirs))["serverSeq"] == 2
            assert (await _offer(other, other.envelope(bob, **shared)))["serverSeq"] == 1
            assert (await _offer(one, sent))["serverSeq"] == 1
            await other.still_works()


async def _too_large(stage: Stage) -> None:
    for codec in BOTH:
        async with stage.connect(codec) as connection:
            limit = connection.connected["limits"]["maxCiphertextBytes"]
            for size in (1, limit):
                await _offer(connection, connection.envelope(ciphertext=b"\xff" * size))
            for size in (limit + 1, limit + 10_000):
                large = connection.envelope(ciphertext=b"\xff" * size)
                await _assert_refused(connection, large, "too_large")
            # Of two faults the size is judged before the sender.
            both = connection.envelope(
                ciphertext=b"x" * (limit + 1), senderUserId=stage.fresh("other")
            )
            await _assert_refused(connection, both, "too_large")
            await connection.still_works()


CASES: Final[list[Case]] = [
    Case(STATE, "a forged sender", SEND, goes_on("forbidden_sender"), _forged_sender),
    Case(
        STATE,
        "a recipient whom the token's `peers` do not have",
        SEND,
        goes_on("forbidden_recipient"),
        _forbidden_recipient,
    ),
    Case(
        STATE,
        "the same key with the same payload",
        PROMISED,
        "the same acknowledgement, byte for byte; no second record",
        _same_again,
    ),
    Case(
        STATE,
        "the same key with another payload, each of the nine fields changed",
        PROMISED,
        "`idempotency_conflict`; another conversation, recipient or key: a record of its own",
        _other_payload,
    ),
    Case(
        STATE,
        "the same key with another payload while the first is under way",
        PROMISED,
        "`idempotency_conflict`, judged after the first",
        _conflict_in_flight,
    ),
    Case(
        STATE,
        "the same key of another user, or in another conversation",
        PROMISED,
        "a record of its own",
        _key_of_another,
    ),
    Case(
        STATE,
        "a ciphertext of `maxCiphertextBytes`, and of one byte more",
        SEND,
        f"taken; {goes_on('too_large')}",
        _too_large,
    ),
]
