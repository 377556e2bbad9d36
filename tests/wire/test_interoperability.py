"""One relay for every library and either codec: all of them see the same values."""

from __future__ import annotations

import pytest

from tests.wire.clients import connected_in_thread
from tests.wire.codecs import JSON, MSGPACK
from tests.wire.connecting import Clients
from tests.wire.messages import envelope, resume, send


@pytest.mark.trio
async def test_both_codecs_show_the_same_values(client: Clients, pair: tuple[str, str]) -> None:
    alice, bob = pair
    async with (
        client.connect(alice) as sender,
        client.connect(bob, JSON, device="one") as one,
        client.connect(bob, MSGPACK, device="two") as two,
    ):
        await one.resume(0)
        await two.resume(0)
        ciphertexts = [bytes(range(256)), b"\0", b"\xff\xfe", b"x" * 100_000]
        for ciphertext in ciphertexts:
            await sender.send(envelope(alice, bob, ciphertext=ciphertext))
        seen = await one.receive_many(len(ciphertexts))
        assert seen == await two.receive_many(len(ciphertexts))
        assert [event["envelope"]["ciphertext"] for event in seen] == ciphertexts


@pytest.mark.trio
async def test_retry_in_the_other_codec_gets_the_same_ack(
    client: Clients, pair: tuple[str, str]
) -> None:
    alice, bob = pair
    sent = envelope(alice, bob)
    async with client.connect(alice, JSON) as peer:
        first = await peer.send(sent)
    async with client.connect(alice, MSGPACK) as peer:
        assert await peer.send(sent) == first


def test_two_libraries_talk_through_the_relay(client: Clients, pair: tuple[str, str]) -> None:
    alice, bob = pair
    url, issuer = client.relay.url, client.issuer
    with (
        connected_in_thread(url, issuer.token(alice), JSON) as sender,
        connected_in_thread(url, issuer.token(bob), MSGPACK) as receiver,
    ):
        assert sender.receive()["type"] == receiver.receive()["type"] == "ksmpv3.connected"
        receiver.tell(resume(0))
        assert receiver.receive()["type"] == "ksmpv3.resume.complete"
        sent = envelope(alice, bob)
        sender.tell(send(sent))
        assert sender.receive()["serverSeq"] == 1
        delivered = receiver.receive()["envelope"]
        assert delivered["ciphertext"] == sent["ciphertext"]
