"""Frames to events and back, for both subprotocols. The one place where bytes become values.

`ksmpv3.json` is one JSON object in a text frame, `ksmpv3.msgpack` one MessagePack map in a binary
frame. Field names are the same. Bytes differ: a ciphertext is base64 (RFC 4648 section 4, padded)
in JSON, the chain lower-case hex; in MessagePack both are `bin`.

Encoding is canonical: fields in the protocol's order, JSON without white space, the shortest
MessagePack forms. Decoding is strict and returns a value that needs no further check, or raises

    UndecodableError
     ├── MalformedError      the frame is not one valid event     → `malformed`
     ├── UnknownEventError   its `type` is not a client event's   → `unknown_event`
     └── InvalidTextError    a text frame is not UTF-8            → close 1007 (RFC 6455 8.1)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from ksmp.events import (
    CLIENT_EVENT_TYPES,
    About,
    AckRead,
    AuthOk,
    ClientEvent,
    Connected,
    Envelope,
    Error,
    InboxFrame,
    Ping,
    Pong,
    Read,
    RecordedEnvelope,
    Resume,
    ResumeComplete,
    Send,
    SendAck,
    ServerEvent,
)
from ksmp.types import (
    IDENTIFIER_CHARACTERS,
    ConversationId,
    GlobalInboxSeq,
    IdempotencyKey,
    MessageId,
    ServerSeq,
    TimeMs,
    UserId,
    is_identifier,
)


class UndecodableError(Exception):
    """The frame is not an event; `about` says what of it could be recognised."""

    def __init__(self, about: About | UnsetType = UNSET) -> None:
        super().__init__()
        self.about = about


class MalformedError(UndecodableError):
    """The frame is not one valid event of a known type."""


class UnknownEventError(UndecodableError):
    """The frame is an object whose `type` is not one of `CLIENT_EVENT_TYPES`."""


class InvalidTextError(UndecodableError):
    """The text frame is not UTF-8."""


class Codec(Protocol):
    """One subprotocol. Stateless: an instance serves any number of connections."""

    @property
    def subprotocol(self) -> str:
        """The name negotiated in `Sec-WebSocket-Protocol`."""

    @property
    def is_text(self) -> bool:
        """Whether its events travel in text frames; otherwise in binary ones."""

    def decode_client_event(self, frame: bytes | bytearray) -> ClientEvent:
        """The valid event in `frame`, or one of the errors at the top of this module."""

    def decode_server_event(self, frame: bytes | bytearray) -> ServerEvent | None:
        """The event in `frame`; None where this version does not know its type.

        Raises:
            MalformedError: not an event a relay would send.
        """

    def encode(self, event: ClientEvent | ServerEvent) -> bytes:
        """The canonical bytes of `event`."""

    def encode_inbox_frame(
        self,
        global_inbox_seq: GlobalInboxSeq,
        previous_global_inbox_seq: GlobalInboxSeq,
        recorded: bytes,
        chain: bytes,
    ) -> bytes:
        """The canonical `InboxFrame` around an envelope that `encode_recorded` has encoded."""


# The MessagePack form of a recorded envelope is also the form in which it is stored, so that a
# record goes from disk to a MessagePack client without being decoded.


def encode_recorded(
    envelope: Envelope, server_seq: ServerSeq, server_received_at_ms: TimeMs
) -> bytes:
    """The canonical MessagePack of `envelope` with its number and time in place."""
    return _msgpack_encode(
        RecordedEnvelope(
            envelope.protocol,
            envelope.conversation_id,
            envelope.message_id,
            envelope.sender_user_id,
            envelope.recipient_user_id,
            envelope.ciphertext,
            envelope.content_type,
            envelope.client_created_at_ms,
            server_seq,
            server_received_at_ms,
            envelope.idempotency_key,
        )
    )


def decode_recorded(recorded: bytes) -> RecordedEnvelope:
    """The inverse of `encode_recorded`.

    Raises:
        MalformedError: these are not bytes that `encode_recorded` returned.
    """
    try:
        return _recorded_decode(recorded)
    except _UNDECODABLE:
        raise MalformedError from None


_UNDECODABLE = (msgspec.MsgspecError, UnicodeError, RecursionError)
_msgpack_encode = msgspec.msgpack.Encoder().encode
_recorded_decode = msgspec.msgpack.Decoder(RecordedEnvelope).decode


class _RawInboxFrame(
    Struct, frozen=True, gc=False, rename="camel", tag="ksmpv3.inbox.frame", tag_field="type"
):
    global_inbox_seq: GlobalInboxSeq
    previous_global_inbox_seq: GlobalInboxSeq
    envelope: Raw
    chain: bytes


class MsgpackCodec:
    """`ksmpv3.msgpack`: binary frames, one MessagePack map each."""

    subprotocol: Final = "ksmpv3.msgpack"
    is_text: Final = False

    def __init__(self) -> None:
        self._client_decode = msgspec.msgpack.Decoder(ClientEvent).decode
        self._server_decode = msgspec.msgpack.Decoder(ServerEvent).decode

    def decode_client_event(self, frame: bytes | bytearray) -> ClientEvent:
        """See `Codec`."""
        try:
            event = self._client_decode(frame)
        except _UNDECODABLE:
            event = _decode_again(frame, msgspec.msgpack.decode, (bytes,))
        return _with_valid_identifiers(event)

    def decode_server_event(self, frame: bytes | bytearray) -> ServerEvent | None:
        """See `Codec`."""
        try:
            event: ServerEvent = self._server_decode(frame)
        except _UNDECODABLE:
            _require_unknown(frame, msgspec.msgpack.decode)
            return None
        return event

    def encode(self, event: ClientEvent | ServerEvent) -> bytes:
        """See `Codec`."""
        return _msgpack_encode(event)

    def encode_inbox_frame(
        self,
        global_inbox_seq: GlobalInboxSeq,
        previous_global_inbox_seq: GlobalInboxSeq,
        recorded: bytes,
        chain: bytes,
    ) -> bytes:
        """See `Codec`."""
        return _msgpack_encode(
            _RawInboxFrame(global_inbox_seq, previous_global_inbox_seq, Raw(recorded), chain)
        )


# JSON has no bytes. msgspec writes them as base64, which is right for a ciphertext; the chain is
# hex, so the two events that carry one have a twin whose chain is text.


class _JsonInboxFrame(
    Struct, frozen=True, gc=False, rename="camel", tag="ksmpv3.inbox.frame", tag_field="type"
):
    global_inbox_seq: GlobalInboxSeq
    previous_global_inbox_seq: GlobalInboxSeq
    envelope: RecordedEnvelope
    chain: str


class _JsonSendAck(
    Struct, frozen=True, gc=False, rename="camel", tag="ksmpv3.send.ack", tag_field="type"
):
    conversation_id: ConversationId
    recipient_user_id: UserId
    message_id: MessageId
    idempotency_key: IdempotencyKey
    server_seq: ServerSeq
    server_received_at_ms: TimeMs
    chain: str


_JsonServerEvent = (
    Connected | _JsonInboxFrame | _JsonSendAck | ResumeComplete | Read | Pong | AuthOk | Error
)


class JsonCodec:
    """`ksmpv3.json`: text frames, one JSON object each."""

    subprotocol: Final = "ksmpv3.json"
    is_text: Final = True

    def __init__(self) -> None:
        self._client_decode = msgspec.json.Decoder(ClientEvent).decode
        self._server_decode = msgspec.json.Decoder(_JsonServerEvent).decode
        self._encode = msgspec.json.Encoder().encode

    def decode_client_event(self, frame: bytes | bytearray) -> ClientEvent:
        """See `Codec`."""
        try:
            event = self._client_decode(frame)
        except _UNDECODABLE:
            _require_utf8(frame)
            event = _decode_again(frame, msgspec.json.decode, ())
        return _with_valid_identifiers(event)

    def decode_server_event(self, frame: bytes | bytearray) -> ServerEvent | None:
        """See `Codec`."""
        try:
            event: _JsonServerEvent = self._server_decode(frame)
            return _with_chain_as_bytes(event)
        except (*_UNDECODABLE, ValueError):
            _require_utf8(frame)
            _require_unknown(frame, msgspec.json.decode)
            return None

    def encode(self, event: ClientEvent | ServerEvent) -> bytes:
        """See `Codec`."""
        match event:
            case SendAck():
                return self._encode(
                    _JsonSendAck(
                        event.conversation_id,
                        event.recipient_user_id,
                        event.message_id,
                        event.idempotency_key,
                        event.server_seq,
                        event.server_received_at_ms,
                        event.chain.hex(),
                    )
                )
            case InboxFrame():
                return self._encode_frame(
                    event.global_inbox_seq,
                    event.previous_global_inbox_seq,
                    event.envelope,
                    event.chain,
                )
            case _:
                return self._encode(event)

    def encode_inbox_frame(
        self,
        global_inbox_seq: GlobalInboxSeq,
        previous_global_inbox_seq: GlobalInboxSeq,
        recorded: bytes,
        chain: bytes,
    ) -> bytes:
        """See `Codec`."""
        return self._encode_frame(
            global_inbox_seq, previous_global_inbox_seq, decode_recorded(recorded), chain
        )

    def _encode_frame(
        self,
        global_inbox_seq: GlobalInboxSeq,
        previous_global_inbox_seq: GlobalInboxSeq,
        envelope: RecordedEnvelope,
        chain: bytes,
    ) -> bytes:
        return self._encode(
            _JsonInboxFrame(global_inbox_seq, previous_global_inbox_seq, envelope, chain.hex())
        )


MSGPACK: Final[Codec] = MsgpackCodec()
JSON: Final[Codec] = JsonCodec()
CODECS: Final[dict[str, Codec]] = {codec.subprotocol: codec for codec in (JSON, MSGPACK)}
"""Every subprotocol by its name."""


# ── decoding, the slow and the careful parts ─────────────────────────────────────────────────


def _with_valid_identifiers(event: ClientEvent) -> ClientEvent:
    """`event`, its identifiers' characters checked; their lengths the decoder has checked."""
    match event:
        case Send(envelope=envelope):
            text = (
                envelope.conversation_id
                + envelope.message_id
                + envelope.sender_user_id
                + envelope.recipient_user_id
                + envelope.idempotency_key
            )
        case AckRead():
            text = event.conversation_id + event.peer_user_id
        case Resume(epoch=str() as text) | Ping(nonce=str() as text):
            pass
        case _:
            return event
    try:
        foreign = text.encode().translate(None, IDENTIFIER_CHARACTERS)
    except UnicodeEncodeError:
        foreign = b"?"
    if foreign:
        raise MalformedError(_about(msgspec.to_builtins(event, builtin_types=(bytes,))))
    return event


def _decode_again(
    frame: bytes | bytearray,
    decode: Callable[[bytes | bytearray], object],
    builtin_types: tuple[type, ...],
) -> ClientEvent:
    """What the one-pass decoder refused, judged in two passes: is it an object, is it known.

    Two passes also take a frame that repeats `type`, where the last counts.
    """
    try:
        value = decode(frame)
    except _UNDECODABLE:
        raise MalformedError from None
    if not isinstance(value, dict):
        raise MalformedError
    if value.get("type") not in CLIENT_EVENT_TYPES:
        raise UnknownEventError
    try:
        event: ClientEvent = msgspec.convert(value, ClientEvent, builtin_types=builtin_types)
    except _UNDECODABLE:
        raise MalformedError(_about(value)) from None
    return event


def _about(value: dict[str, object]) -> About:
    """The ids of a malformed event that are themselves valid, so that its sender can find it."""
    envelope = value.get("envelope")
    source = envelope if isinstance(envelope, dict) else value
    valid = {
        name: text
        for name in About.__struct_encode_fields__
        if isinstance(text := source.get(name), str) and is_identifier(text)
    }
    return msgspec.convert(valid | {"type": value["type"]}, About)


def _with_chain_as_bytes(event: _JsonServerEvent) -> ServerEvent:
    match event:
        case _JsonInboxFrame():
            return InboxFrame(
                event.global_inbox_seq,
                event.previous_global_inbox_seq,
                event.envelope,
                bytes.fromhex(event.chain),
            )
        case _JsonSendAck():
            return SendAck(
                event.conversation_id,
                event.recipient_user_id,
                event.message_id,
                event.idempotency_key,
                event.server_seq,
                event.server_received_at_ms,
                bytes.fromhex(event.chain),
            )
        case _:
            return event


def _require_unknown(
    frame: bytes | bytearray, decode: Callable[[bytes | bytearray], object]
) -> None:
    """Return for an object of a type this version does not know, raise for anything else."""
    try:
        value = decode(frame)
    except _UNDECODABLE:
        raise MalformedError from None
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        raise MalformedError
    if value["type"] in _SERVER_EVENT_TYPES:
        raise MalformedError


_SERVER_EVENT_TYPES = frozenset(
    str(kind.__struct_config__.tag)
    for kind in (Connected, InboxFrame, SendAck, ResumeComplete, Read, Pong, AuthOk, Error)
)


def _require_utf8(frame: bytes | bytearray) -> None:
    try:
        frame.decode()
    except UnicodeDecodeError:
        raise InvalidTextError from None
