"""Events as clients write them, with identifiers that no other test uses."""

from __future__ import annotations

from itertools import count

from tests.wire.codecs import Event

_numbers = count(1)


def fresh(prefix: str) -> str:
    """An identifier that this process has not used before."""
    return f"{prefix}-{next(_numbers)}"


def envelope(sender: str, recipient: str, **fields: object) -> Event:
    """A good envelope with a conversation, message id and key of its own; `fields` replace."""
    number = next(_numbers)
    return {
        "protocol": "ksmpv3",
        "conversationId": f"conversation-{number}",
        "messageId": f"message-{number}",
        "senderUserId": sender,
        "recipientUserId": recipient,
        "ciphertext": b"sealed %d" % number,
        "contentType": "text",
        "clientCreatedAtMs": 1_790_000_000_000 + number,
        "idempotencyKey": f"key-{number}",
    } | fields


def send(envelope: Event) -> Event:
    """The event that offers an envelope."""
    return {"type": "ksmpv3.send", "envelope": envelope}


def resume(cursor: int | None, **fields: object) -> Event:
    """The event that asks for everything after a cursor."""
    return {"type": "ksmpv3.resume", "lastGlobalInboxSeq": cursor} | fields


def ack_read(conversation_id: str, peer: str, server_seq: int, **fields: object) -> Event:
    """The event that says how far one has read."""
    return {
        "type": "ksmpv3.ack.read",
        "conversationId": conversation_id,
        "peerUserId": peer,
        "serverSeq": server_seq,
    } | fields


def ping(nonce: str | None = None) -> Event:
    """The keepalive event."""
    return {"type": "ksmpv3.ping"} | ({} if nonce is None else {"nonce": nonce})


def about_send(envelope: Event) -> Event:
    """What an error says about the send of this envelope."""
    return {
        "type": "ksmpv3.send",
        "conversationId": envelope["conversationId"],
        "recipientUserId": envelope["recipientUserId"],
        "messageId": envelope["messageId"],
        "idempotencyKey": envelope["idempotencyKey"],
    }
