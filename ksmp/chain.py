"""The chain: 32 bytes that show two people saw one unaltered sequence of records.

Each record's chain value hashes the one before it, the record's number and time, and everything
its sender wrote. A relay that reorders, drops, forks or rewrites cannot keep the values equal.

    base        SHA-256("ksmpv3" ‖ lp(conversationId) ‖ lp(u) ‖ lp(v))     u ≤ v, byte by byte
    link n      SHA-256(link n-1 ‖ u64be(serverSeq) ‖ u64be(serverReceivedAtMs) ‖ payload)
    payload     lp(messageId) ‖ lp(senderUserId) ‖ lp(recipientUserId) ‖ lp(contentType)
                ‖ u64be(clientCreatedAtMs) ‖ lp(idempotencyKey) ‖ SHA-256(ciphertext)
    lp(x)       u32be(length of x) ‖ x
"""

from __future__ import annotations

from hashlib import sha256
from struct import Struct
from typing import Final

from ksmp.events import Envelope, RecordedEnvelope
from ksmp.types import ConversationId, ServerSeq, TimeMs, UserId

CHAIN_BYTES: Final = 32

_length = Struct("!I").pack
_number = Struct("!Q").pack
_link_head = Struct("!QQ").pack


def chain_base(conversation_id: ConversationId, user: UserId, other: UserId) -> bytes:
    """The value before a conversation's first record; the order of the two users is free."""
    low, high = sorted((user, other))  # identifiers are ASCII: this is the order of their bytes
    return sha256(
        b"".join((b"ksmpv3", _prefixed(conversation_id), _prefixed(low), _prefixed(high)))
    ).digest()


def chain_payload(envelope: Envelope | RecordedEnvelope) -> bytes:
    """What a link hashes of what the sender wrote. Equal payloads are equal sends."""
    message_id = envelope.message_id.encode()
    sender = envelope.sender_user_id.encode()
    recipient = envelope.recipient_user_id.encode()
    content_type = envelope.content_type.encode()
    key = envelope.idempotency_key.encode()
    return b"".join(
        (
            _length(len(message_id)),
            message_id,
            _length(len(sender)),
            sender,
            _length(len(recipient)),
            recipient,
            _length(len(content_type)),
            content_type,
            _number(envelope.client_created_at_ms),
            _length(len(key)),
            key,
            sha256(envelope.ciphertext).digest(),
        )
    )


def chain_link(
    previous: bytes, server_seq: ServerSeq, server_received_at_ms: TimeMs, payload: bytes
) -> bytes:
    """The value of one record, from the value of the record before it."""
    return sha256(previous + _link_head(server_seq, server_received_at_ms) + payload).digest()


def chain_after(previous: bytes, record: RecordedEnvelope) -> bytes:
    """The value of `record`, from the value of the record before it: what a receiver checks."""
    return chain_link(
        previous, record.server_seq, record.server_received_at_ms, chain_payload(record)
    )


def _prefixed(text: str) -> bytes:
    encoded = text.encode()
    return _length(len(encoded)) + encoded
