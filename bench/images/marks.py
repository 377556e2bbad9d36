"""What a recorded process says of itself: what it offers to the store, and what it was promised.

Each mark is one write to a file beside the store, so it has its place among the recorded calls.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from ksmp.types import ConversationKey


class Opened(Struct, frozen=True, tag=True):
    """The store is open and has this epoch."""

    epoch: str


class Offered(Struct, frozen=True, tag=True):
    """An append is about to be submitted: from now on it may be found."""

    conversation: ConversationKey
    before: bytes
    """The chain value that it builds on."""

    records: Mapping[int, bytes]
    """By serverSeq, the values in `log`."""


class Found(Struct, frozen=True, tag=True):
    """The store has told the head of a conversation."""

    conversation: ConversationKey
    server_seq: int
    chain: bytes


class Appended(Struct, frozen=True, tag=True):
    """The append that ends with this record was acknowledged, and these are its inbox rows."""

    conversation: ConversationKey
    server_seq: int
    chain: bytes
    places: Mapping[str, Mapping[int, int]]
    """By user and number in the inbox, the serverSeq."""


class Marked(Struct, frozen=True, tag=True):
    """A read position was acknowledged: the maximum of all, and of those that were not private."""

    conversation: ConversationKey
    reader: str
    own: int
    public: int


Mark = Opened | Offered | Found | Appended | Marked

_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(Mark, strict=False)


def encode_mark(mark: Mark) -> bytes:
    """The bytes of one write."""
    return _encoder.encode(mark)


def decode_mark(encoded: bytes) -> Mark:
    """The inverse of `encode_mark`."""
    mark: Mark = _decoder.decode(encoded)
    return mark


class Marker:
    """Writes marks to a file, each by one call."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def tell(self, mark: Mark) -> None:
        """Say it, before anything else happens."""
        os.write(self._file, encode_mark(mark))
