"""Frames that are not one valid event: the errors, and the second look that tells them apart.

    UndecodableError
     ├── MalformedError      the frame is not one valid event     → `malformed`
     ├── UnknownEventError   its `type` is not a client event's   → `unknown_event`
     └── InvalidTextError    a text frame is not UTF-8            → close 1007 (RFC 6455 8.1)

The second look never builds what a frame says beyond the fields that the protocol has. A map out
of a hostile frame, made into Python's, can cost seconds of hash collisions; skipped, it costs
microseconds.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final, Protocol, TypeVar

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from ksmp.events import (
    About,
    AckRead,
    Auth,
    AuthOk,
    ClientEvent,
    Connected,
    Envelope,
    Error,
    InboxFrame,
    Ping,
    Pong,
    Read,
    Resume,
    ResumeComplete,
    Send,
    SendAck,
)
from ksmp.types import is_identifier

UNDECODABLE: Final = (msgspec.MsgspecError, UnicodeError, RecursionError)
"""What a decoder raises over hostile bytes."""

_T = TypeVar("_T")
_S = TypeVar("_S", bound=Struct)


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


class _Ids(Struct):
    """Whatever stands where an event's ids should; what is not looked at is skipped unbuilt."""

    conversationId: Raw = Raw()  # noqa: N815 - as on the wire
    recipientUserId: Raw = Raw()  # noqa: N815
    messageId: Raw = Raw()  # noqa: N815
    idempotencyKey: Raw = Raw()  # noqa: N815


class _Outline(Struct):
    """What can be said of an object that is not one valid event."""

    type: Raw = Raw()
    envelope: Raw = Raw()
    conversationId: Raw = Raw()  # noqa: N815


def _unread(kind: type[Struct]) -> type[Struct]:
    """The fields of `kind`, unread: of a repeated one the last, whatever the others hold."""
    config = kind.__struct_config__
    names = kind.__struct_encode_fields__ + (("type",) if config.tag is not None else ())
    return msgspec.defstruct(
        kind.__name__, [(name, Raw, Raw()) for name in names], forbid_unknown_fields=True
    )


_KINDS: Final[dict[str, type[ClientEvent]]] = {
    str(kind.__struct_config__.tag): kind for kind in (Send, AckRead, Resume, Ping, Auth)
}
_UNREAD: Final[dict[type[Struct], type[Struct]]] = {
    kind: _unread(kind) for kind in (Envelope, *_KINDS.values())
}


class Decode(Protocol):
    """`msgspec.json.decode` or `msgspec.msgpack.decode`."""

    def __call__(self, buf: bytes | bytearray | Raw, /, *, type: type[_T]) -> _T:  # noqa: A002
        """The value in `buf`, if it is one of this type."""


def decode_again(frame: bytes | bytearray, decode: Decode) -> ClientEvent:
    """What the one-pass decoder refused, judged in two passes: is it an object, is it known.

    Two passes also take a frame that repeats `type`, where the last counts.
    """
    try:
        outline = decode(frame, type=_Outline)
    except UNDECODABLE:
        raise MalformedError from None
    name = _text(outline.type, decode)
    if name not in _KINDS:
        raise UnknownEventError
    try:
        return _read(frame, _KINDS[name], decode)
    except UNDECODABLE:
        raise MalformedError(_about(name, outline, decode)) from None


def _read(buffer: bytes | bytearray | Raw, kind: type[_S], decode: Decode) -> _S:
    """A `kind` out of `buffer`, field by field."""
    unread = decode(buffer, type=_UNREAD[kind])
    values: dict[str, object] = {}
    for field in msgspec.structs.fields(kind):
        raw: Raw = getattr(unread, field.encode_name)
        if field.type is Envelope:
            values[field.name] = _read(raw, Envelope, decode)
        elif field.required or len(raw):
            values[field.name] = decode(raw, type=field.type)
    return kind(**values)


def _about(name: str, outline: _Outline, decode: Decode) -> About:
    """Which event it is: its type, and of the ids that such an event has those that are valid.

    What only looks like an id, such as a `conversationId` in a ping, is not said again.
    """
    ids = _Ids()
    if _KINDS[name] is Send:
        with suppress(*UNDECODABLE):  # the envelope may be anything
            ids = decode(outline.envelope, type=_Ids)
    elif _KINDS[name] is AckRead:
        ids = _Ids(conversationId=outline.conversationId)
    valid = {
        field: text
        for field in _Ids.__struct_fields__
        if is_identifier(text := _text(getattr(ids, field), decode))
    }
    return msgspec.convert(valid | {"type": name}, About)


def _text(raw: Raw, decode: Decode) -> str:
    """The text in `raw`; empty where it is anything else."""
    try:
        return decode(raw, type=str)
    except UNDECODABLE:
        return ""


def about_event(event: ClientEvent) -> About:
    """The same for an event that decodes, and holds an identifier that is not one."""
    encoded = msgspec.msgpack.encode(event)
    outline = msgspec.msgpack.decode(encoded, type=_Outline)
    return _about(str(type(event).__struct_config__.tag), outline, msgspec.msgpack.decode)


def require_unknown(frame: bytes | bytearray, decode: Decode) -> None:
    """Return for an object of a type this version does not know, raise for anything else."""
    try:
        outline = decode(frame, type=_Outline)
    except UNDECODABLE:
        raise MalformedError from None
    name = _text(outline.type, decode)
    if not name or name in _SERVER_EVENT_TYPES:
        raise MalformedError


_SERVER_EVENT_TYPES = frozenset(
    str(kind.__struct_config__.tag)
    for kind in (Connected, InboxFrame, SendAck, ResumeComplete, Read, Pong, AuthOk, Error)
)
