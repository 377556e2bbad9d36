"""The chain of a conversation, computed a second time: from the definition, by nothing shared."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from tests.wire.codecs import Event


def chain_base(conversation_id: str, one: str, other: str) -> bytes:
    """chain₀ of the conversation of these two users."""
    users = sorted([one.encode(), other.encode()])
    return _sha256(b"ksmpv3", _lp(conversation_id.encode()), _lp(users[0]), _lp(users[1]))


def chain_next(previous: bytes, envelope: Event) -> bytes:
    """chainₙ of a delivered envelope, from chainₙ₋₁."""
    return _sha256(
        previous,
        _u64be(envelope["serverSeq"]),
        _u64be(envelope["serverReceivedAtMs"]),
        _lp(envelope["messageId"].encode()),
        _lp(envelope["senderUserId"].encode()),
        _lp(envelope["recipientUserId"].encode()),
        _lp(envelope["contentType"].encode()),
        _u64be(envelope["clientCreatedAtMs"]),
        _lp(envelope["idempotencyKey"].encode()),
        _sha256(envelope["ciphertext"]),
    )


def assert_chained(base: bytes, frames: Iterable[Event]) -> bytes:
    """Every frame of one conversation carries the chain of its record; returns the last one."""
    for frame in frames:
        base = chain_next(base, frame["envelope"])
        assert frame["chain"] == base
    return base


def _sha256(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def _lp(text: bytes) -> bytes:
    return len(text).to_bytes(4, "big") + text


def _u64be(number: int) -> bytes:
    return number.to_bytes(8, "big")
