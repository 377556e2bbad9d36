"""Marks and chains, written from the protocol a second time, so that an error shows as one.

A mark is the first 8 bytes of a SHA-256 as a number: enough to tell any two things of a history
apart, and small.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final, NamedTuple

MARK_BYTES: Final = 8


class Envelope(NamedTuple):
    """What a client sends, the ciphertext as its SHA-256."""

    conversation_id: str
    message_id: str
    sender: str
    recipient: str
    content_type: str
    created_ms: int
    key: str
    content: bytes


def mark(raw: bytes) -> int:
    """The mark of some bytes."""
    return int.from_bytes(sha256(raw).digest()[:MARK_BYTES], "big")


def start_of(digest: bytes) -> int:
    """The mark that a whole digest, such as a chain value, is told by."""
    return int.from_bytes(digest[:MARK_BYTES], "big")


def payload_of(envelope: Envelope) -> bytes:
    """What a link of the chain hashes of an envelope (protocol section 5.8)."""
    return b"".join(
        (
            _prefixed(envelope.message_id),
            _prefixed(envelope.sender),
            _prefixed(envelope.recipient),
            _prefixed(envelope.content_type),
            envelope.created_ms.to_bytes(8, "big"),
            _prefixed(envelope.key),
            envelope.content,
        )
    )


def payload_mark(conversation_id: str, payload: bytes) -> int:
    """The mark of everything the sender wrote."""
    return mark(_prefixed(conversation_id) + payload)


def chain_base(conversation_id: str, one: str, other: str) -> bytes:
    """The chain before the first record."""
    low, high = sorted((one.encode(), other.encode()))
    return sha256(b"ksmpv3" + _prefixed(conversation_id) + _counted(low) + _counted(high)).digest()


def chain_after(previous: bytes, server_seq: int, received_ms: int, payload: bytes) -> bytes:
    """The chain of a record, from the chain of the record before it."""
    numbers = server_seq.to_bytes(8, "big") + received_ms.to_bytes(8, "big")
    return sha256(previous + numbers + payload).digest()


def _prefixed(text: str) -> bytes:
    return _counted(text.encode())


def _counted(raw: bytes) -> bytes:
    return len(raw).to_bytes(4, "big") + raw
