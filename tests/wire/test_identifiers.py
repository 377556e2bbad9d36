"""What may name a user, device, conversation, message, key, epoch or nonce (section 3)."""

from __future__ import annotations

import string

import pytest

from tests.wire.codecs import Codec, Event
from tests.wire.connecting import Clients
from tests.wire.messages import ack_read, envelope, fresh, ping, resume, send
from tests.wire.raw import message

USER = "identifier"
ALPHABET = string.ascii_letters + string.digits + "._~:@+=/-"

BAD: dict[str, str] = {
    "empty": "",
    "129 long": "x" * 129,
    "NUL": "a\0b",
    "CR LF": "a\r\nb",
    "space": "a b",
    "trailing newline": "ab\n",
    "full-width digits": "１２",
    "composed letter": "é",
    "decomposed letter": "e\u0301",
    "escape sequence": "\x1b[31m",
    "DEL": "a\x7f",
    "astral": "\U0001f4ac",
    **{f"character {c}": f"a{c}" for c in set(string.punctuation) - set(ALPHABET)},
}


def _events_with(identifier: str) -> list[Event]:
    """Every field of every event that takes an identifier, each alone in an event."""
    fields = ["conversationId", "messageId", "senderUserId", "recipientUserId", "idempotencyKey"]
    return [
        *(send(envelope(USER, "bob") | {field: identifier}) for field in fields),
        ack_read(identifier, "bob", 1),
        ack_read("conversation", identifier, 1),
        resume(0, epoch=identifier),
        ping(identifier),
    ]


@pytest.mark.parametrize("name", sorted(BAD))
def test_bad_identifier_is_malformed_in_every_field(
    name: str, client: Clients, codec: Codec
) -> None:
    events = _events_with(BAD[name])
    # Four malformed events in 10 s end a connection, so each connection gets three.
    for start in range(0, len(events), 3):
        with client.connect_raw(USER, codec) as socket:
            for event in events[start : start + 3]:
                socket.send(message(codec.encode(event)))
                error = socket.event(codec)
                assert error["code"] == "malformed", (error, list(event))
                assert BAD[name] == "" or BAD[name] not in error.get("about", {}).values()


@pytest.mark.trio
async def test_every_allowed_character_travels_unchanged(client: Clients, codec: Codec) -> None:
    user = fresh("user")
    strange = {
        "conversationId": ALPHABET,
        "messageId": ALPHABET[::-1],
        "idempotencyKey": "../" + "x" * 125,
    }
    async with client.connect(user, codec) as peer:
        await peer.resume(0)
        sent = envelope(user, user, **strange)
        ack = await peer.send(sent)
        (frame,) = await peer.frames(1)
        for name, value in strange.items():
            assert ack[name] == value
            assert frame.event["envelope"][name] == value
        await peer.tell(ping(ALPHABET))
        assert (await peer.receive())["nonce"] == ALPHABET


@pytest.mark.trio
async def test_identifiers_are_compared_byte_by_byte(client: Clients) -> None:
    user = fresh("user")
    async with client.connect(user) as peer:
        for conversation in ("Talk", "talk", "talk/", "talk/.", "./talk"):
            assert (await peer.send(envelope(user, user, conversationId=conversation)))[
                "serverSeq"
            ] == 1
        assert (await peer.send(envelope(user, user, conversationId="talk")))["serverSeq"] == 2
