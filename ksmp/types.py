"""The words of KSMP v3 as types: identifiers, numbers, and what makes each of them valid.

Nothing here does anything. A value that carries one of these types has passed the edge
(`ksmp.codec`) and need not be checked again.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, NamedTuple, NewType

from msgspec import Meta

PROTOCOL: Final = "ksmpv3"
"""The envelope's `protocol`, and the prefix of every event type (charter section 3)."""

MAX_INTEGER: Final = 2**53 - 1
"""The largest integer on the wire: what a JSON number holds exactly."""

MAX_IDENTIFIER_LENGTH: Final = 128
IDENTIFIER_CHARACTERS: Final = (
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~:@+=/-"
)

UserId = NewType("UserId", str)
DeviceId = NewType("DeviceId", str)
ConversationId = NewType("ConversationId", str)
MessageId = NewType("MessageId", str)
IdempotencyKey = NewType("IdempotencyKey", str)
ConnectionId = NewType("ConnectionId", str)
Epoch = NewType("Epoch", str)
Nonce = NewType("Nonce", str)

ServerSeq = NewType("ServerSeq", int)
"""A record's place in its conversation: 1, 2, 3 …, assigned by the relay, never reused."""

GlobalInboxSeq = NewType("GlobalInboxSeq", int)
"""A record's place in one user's inbox: rises strictly, and is what a cursor holds."""

TimeMs = NewType("TimeMs", int)
"""Milliseconds since the Unix epoch, as a wall clock told them. Nothing is ordered by it."""

ContentType = Literal["text", "image", "voice", "system"]

# What a decoder checks of each: the length here, the characters in `ksmp.codec`.
_IDENTIFIER = Meta(min_length=1, max_length=MAX_IDENTIFIER_LENGTH)
_INTEGER = Meta(ge=0, le=MAX_INTEGER)

WireUserId = Annotated[UserId, _IDENTIFIER]
WireConversationId = Annotated[ConversationId, _IDENTIFIER]
WireMessageId = Annotated[MessageId, _IDENTIFIER]
WireIdempotencyKey = Annotated[IdempotencyKey, _IDENTIFIER]
WireEpoch = Annotated[Epoch, _IDENTIFIER]
WireNonce = Annotated[Nonce, _IDENTIFIER]
WireServerSeq = Annotated[ServerSeq, _INTEGER]
WireGlobalInboxSeq = Annotated[GlobalInboxSeq, _INTEGER]
WireTimeMs = Annotated[TimeMs, _INTEGER]
WireCiphertext = Annotated[bytes, Meta(min_length=1)]


def is_identifier(value: str) -> bool:
    """Whether `value` may name a user, device, conversation, message, key, epoch or nonce.

    1 to 128 ASCII characters out of `IDENTIFIER_CHARACTERS`; compared byte by byte, never folded.
    """
    return (
        0 < len(value) <= MAX_IDENTIFIER_LENGTH
        and value.isascii()
        and not value.encode().translate(None, IDENTIFIER_CHARACTERS)
    )


class ConversationKey(NamedTuple):
    """What makes a conversation: its id together with its two participants, `low` ≤ `high`.

    The same id between another pair is another conversation; `low == high` is a conversation
    with oneself. Build it with `conversation_key`.
    """

    conversation_id: ConversationId
    low: UserId
    high: UserId


def conversation_key(
    conversation_id: ConversationId, one: UserId, other: UserId
) -> ConversationKey:
    """The key of the conversation of these two users, whichever of them is named first."""
    # Identifiers are ASCII: the order of the strings is the order of their bytes.
    if one <= other:
        return ConversationKey(conversation_id, one, other)
    return ConversationKey(conversation_id, other, one)
