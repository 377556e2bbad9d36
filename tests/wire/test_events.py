"""The exact fields of what the relay says first and most often, and their order (section 4)."""

from __future__ import annotations

import time

import pytest

from tests.wire.codecs import Codec
from tests.wire.connecting import Clients
from tests.wire.messages import envelope, fresh, ping, resume, send

pytestmark = pytest.mark.trio

CONNECTED = [
    "type",
    "protocol",
    "userId",
    "deviceId",
    "connectionId",
    "serverTimeMs",
    "epoch",
    "headGlobalInboxSeq",
    "truncatedThrough",
    "keepaliveMs",
    "tokenExpiresAtMs",
    "extensions",
    "limits",
]
LIMITS = {
    "maxCiphertextBytes": 262_144,
    "maxFrameBytes": 409_600,
    "maxUnackedSends": 256,
    "sendsPerSecond": 200,
    "sendsBurst": 400,
    "idempotencyWindowMs": None,
}
EXTENSIONS = ["auth", "chain", "read", "resume.complete", "push"]
FRAME = ["type", "globalInboxSeq", "previousGlobalInboxSeq", "envelope", "chain"]
ENVELOPE = [
    "protocol",
    "conversationId",
    "messageId",
    "senderUserId",
    "recipientUserId",
    "ciphertext",
    "contentType",
    "clientCreatedAtMs",
    "serverSeq",
    "serverReceivedAtMs",
    "idempotencyKey",
]
ACK = [
    "type",
    "conversationId",
    "recipientUserId",
    "messageId",
    "idempotencyKey",
    "serverSeq",
    "serverReceivedAtMs",
    "chain",
]


async def test_connected_comes_first_and_says_everything_in_order(
    client: Clients, codec: Codec
) -> None:
    user = fresh("user")
    async with client.connect(user, codec, device="laptop") as peer:
        event = peer.connected
        assert list(event) == CONNECTED
        assert (event["protocol"], event["userId"], event["deviceId"]) == ("ksmpv3", user, "laptop")
        assert event["headGlobalInboxSeq"] == event["truncatedThrough"] == 0
        assert event["keepaliveMs"] == 30_000
        assert abs(event["serverTimeMs"] - time.time() * 1000) < 60_000
        assert event["limits"] == LIMITS
        assert list(event["limits"]) == list(LIMITS)
        spoken = event["extensions"]
        assert spoken == [name for name in EXTENSIONS if name in spoken]
        assert set(EXTENSIONS) - {"push"} <= set(spoken)


async def test_connections_have_different_ids_and_one_epoch(client: Clients) -> None:
    user = fresh("user")
    async with client.connect(user) as one, client.connect(user, device="other") as other:
        assert one.connected["connectionId"] != other.connected["connectionId"]
        assert one.connected["epoch"] == other.connected["epoch"]


async def test_ack_and_frame_carry_all_their_fields_in_order(
    client: Clients, codec: Codec, pair: tuple[str, str]
) -> None:
    alice, bob = pair
    async with client.connect(alice, codec) as sender, client.connect(bob, codec) as receiver:
        await receiver.resume(0)
        sent = envelope(alice, bob, contentType="voice")
        ack = await sender.send(sent)
        event = await receiver.receive()

    assert list(ack) == ACK
    assert ack == {"type": "ksmpv3.send.ack"} | {
        name: sent.get(name, ack[name]) for name in ACK[1:]
    }
    assert ack["serverSeq"] == 1
    assert abs(ack["serverReceivedAtMs"] - time.time() * 1000) < 60_000
    assert list(event) == FRAME
    assert list(event["envelope"]) == ENVELOPE
    assert event["envelope"] == sent | {
        "serverSeq": 1,
        "serverReceivedAtMs": ack["serverReceivedAtMs"],
    }
    assert event["chain"] == ack["chain"]
    assert event["previousGlobalInboxSeq"] == 0


async def test_every_event_is_in_canonical_form(
    client: Clients, codec: Codec, pair: tuple[str, str]
) -> None:
    alice, bob = pair
    received = []
    async with client.connect(alice, codec) as peer:
        received += await peer.resume(0)
        for size in (1, 2, 3, 255, 256, 70_000):
            large = envelope(alice, bob, ciphertext=b"\xff" * size, conversationId="a/b")
            await peer.tell(send(large))
            received += [await peer.receive_frame(), await peer.receive_frame()]
        await peer.tell(ping("a/b"), resume(0), {"type": "ksmpv3.none"})
        received += [await peer.receive_frame() for _ in range(3)]

    assert len({frame.event["type"] for frame in received}) == 5
    for frame in received:
        assert frame.raw == codec.canonical(frame.event)


async def test_pong_returns_the_nonce_and_the_time(client: Clients, codec: Codec) -> None:
    async with client.connect(fresh("user"), codec) as peer:
        await peer.tell(ping("n-1"), ping())
        with_nonce, without = await peer.receive_many(2)
    assert list(with_nonce) == ["type", "nonce", "serverTimeMs"]
    assert with_nonce["nonce"] == "n-1"
    assert list(without) == ["type", "serverTimeMs"]
    assert abs(without["serverTimeMs"] - time.time() * 1000) < 60_000
