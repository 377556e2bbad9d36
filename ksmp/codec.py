"""Frames to events and back, for both subprotocols. The one place where bytes become values.

`ksmpv3.json` is one JSON object in a text frame, `ksmpv3.msgpack` one MessagePack map in a binary
frame. Field names are the same. Bytes differ: a ciphertext is base64 (RFC 4648 section 4, padded)
in JSON, the chain lower-case hex; in MessagePack both are `bin`.

Encoding is canonical: fields in the protocol's order, JSON without white space, the shortest
MessagePack forms. Decoding is strict: it returns a value that needs no further check, or raises one
of the errors of `ksmp.malformed`.
"""

from __future__ import annotations

from typing import Final, Protocol

import msgspec
from msgspec import Raw, Struct

from ksmp.events import (
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
from ksmp.malformed import (
    UNDECODABLE,
    InvalidTextError,
    MalformedError,
    about_event,
    decode_again,
    require_unknown,
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
)


class Codec(Protocol):
    """One subprotocol. Stateless: an instance serves any number of connections."""

    @property
    def subprotocol(self) -> str:
        """The name negotiated in `Sec-WebSocket-Protocol`."""

    @property
    def is_text(self) -> bool:
        """Whether its events travel in text frames; otherwise in binary ones."""

    def decode_client_event(self, frame: bytes | bytearray) -> ClientEvent:
        """The valid event in `frame`.

        Raises:
            UndecodableError: `MalformedError`, `UnknownEventError` or `InvalidTextError`.
        """

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
    except UNDECODABLE:
        raise MalformedError from None


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
        except UNDECODABLE:
            event = decode_again(frame, msgspec.msgpack.decode)
        return _with_valid_identifiers(event)

    def decode_server_event(self, frame: bytes | bytearray) -> ServerEvent | None:
        """See `Codec`."""
        try:
            event: ServerEvent = self._server_decode(frame)
        except UNDECODABLE:
            require_unknown(frame, msgspec.msgpack.decode)
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
        except UNDECODABLE:
            _require_utf8(frame)
            event = decode_again(frame, msgspec.json.decode)
        return _with_valid_identifiers(event)

    def decode_server_event(self, frame: bytes | bytearray) -> ServerEvent | None:
        """See `Codec`."""
        try:
            event: _JsonServerEvent = self._server_decode(frame)
            return _with_chain_as_bytes(event)
        except (*UNDECODABLE, ValueError):
            _require_utf8(frame)
            require_unknown(frame, msgspec.json.decode)
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
        raise MalformedError(about_event(event))
    return event


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


def _require_utf8(frame: bytes | bytearray) -> None:
    try:
        frame.decode()
    except UnicodeDecodeError:
        raise InvalidTextError from None
