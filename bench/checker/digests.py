"""Marks and chains, written from the protocol a second time, so that an error shows as one.

A mark is the first 8 bytes of a SHA-256 as a number: enough to tell any two things of a history
apart, and small.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from hashlib import sha256
from struct import Struct
from typing import Final, NamedTuple

NAMES: Final = 65_536
"""Names whose encoding is remembered."""

_length: Final = Struct("!I").pack
_number: Final = Struct("!Q").pack
_first_number: Final[Callable[[bytes], tuple[int]]] = Struct("!Q").unpack_from


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
    return _first_number(sha256(raw).digest())[0]


def start_of(digest: bytes) -> int:
    """The mark that a whole digest, such as a chain value, is told by."""
    return _first_number(digest)[0]


def payload_of(envelope: Envelope) -> bytes:
    """What a link of the chain hashes of an envelope (protocol section 5.8)."""
    message_id, key = envelope.message_id.encode(), envelope.key.encode()
    return b"".join(
        (
            _length(len(message_id)),
            message_id,
            _prefixed(envelope.sender),
            _prefixed(envelope.recipient),
            _prefixed(envelope.content_type),
            _number(envelope.created_ms),
            _length(len(key)),
            key,
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
    numbers = _number(server_seq) + _number(received_ms)
    return sha256(previous + numbers + payload).digest()


@lru_cache(maxsize=NAMES)
def _prefixed(name: str) -> bytes:
    """A name that comes again and again: of a user, of a conversation, of a kind of content."""
    return _counted(name.encode())


def _counted(raw: bytes) -> bytes:
    return _length(len(raw)) + raw
