"""Appends with true chains, from anybody to anybody."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from ksmp.chain import chain_link, chain_payload
from ksmp.codec import encode_recorded
from ksmp.events import Envelope
from ksmp.types import (
    PROTOCOL,
    ConversationId,
    ConversationKey,
    IdempotencyKey,
    MessageId,
    ServerSeq,
    TimeMs,
    UserId,
    conversation_key,
)
from storage.keys import pack_record, payload_digest
from storage.log import Append, ConversationHead, NewRecord

BEGAN_MS: Final = 1_700_000_000_000


class Letter(NamedTuple):
    """What someone sends. The key is the message's name too."""

    sender: UserId
    key: str
    ciphertext: bytes


def talk(one: str, other: str, name: str = "talk") -> ConversationKey:
    """The conversation of that name between the two."""
    return conversation_key(ConversationId(name), UserId(one), UserId(other))


def append_of(key: ConversationKey, head: ConversationHead, letters: Sequence[Letter]) -> Append:
    """The append of a writer that believes in `head`."""
    records = []
    seq, chain = head
    for letter in letters:
        seq = ServerSeq(seq + 1)
        at = TimeMs(BEGAN_MS + seq)
        envelope = _envelope(key, letter)
        payload = chain_payload(envelope)
        chain = chain_link(chain, seq, at, payload)
        digest = payload_digest(payload)
        recorded = encode_recorded(envelope, seq, at)
        records.append(
            NewRecord(seq, at, letter.sender, IdempotencyKey(letter.key), digest, chain, recorded)
        )
    return Append(key, head.server_seq, records)


def head_after(append: Append) -> ConversationHead:
    """The head once `append` is stored."""
    last = append.records[-1]
    return ConversationHead(last.server_seq, last.chain)


def rows_of(append: Append) -> dict[int, bytes]:
    """By serverSeq, the values in `log` once `append` is stored."""
    return {one.server_seq: pack_record(one.chain, one.recorded) for one in append.records}


def _envelope(key: ConversationKey, letter: Letter) -> Envelope:
    recipient = key.high if letter.sender == key.low else key.low
    return Envelope(
        PROTOCOL,
        key.conversation_id,
        MessageId(f"m-{letter.key}"),
        letter.sender,
        recipient,
        letter.ciphertext,
        "text",
        TimeMs(BEGAN_MS),
        IdempotencyKey(letter.key),
    )
