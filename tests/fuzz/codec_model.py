"""A client's events a second time, on other parsers: what a frame must be taken for.

    dict        one valid event, in wire order, its ciphertext as bytes
    "malformed" | "unknown_event"
    None        a parser's business: the relay may refuse it as either, but not accept it

Nothing is shared with what is tested. JSON is read by the standard library, MessagePack by the
`msgpack` package.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from typing import Final

import msgpack

from tests.wire.codecs import Event

Verdict = Event | str | None

MAX_INTEGER: Final = 2**53 - 1
_IDENTIFIER: Final = re.compile(r"[A-Za-z0-9._~:@+=/-]{1,128}", re.ASCII)
_BASE64: Final = re.compile(
    r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?", re.ASCII
)
_CONTENT_TYPES: Final = ("text", "image", "voice", "system")


class _Invalid(Exception):
    """A field is missing, unknown, or has no such value."""


Field = Callable[[object], object]
Fields = Mapping[str, tuple[Field, bool]]
"""Each field's check, and whether it is required, in wire order."""


def _identifier(value: object) -> object:
    return _require(value, is_identifier(value))


def _integer(value: object) -> object:
    return _require(value, type(value) is int and 0 <= value <= MAX_INTEGER)


def _cursor(value: object) -> object:
    return None if value is None else _integer(value)


def _boolean(value: object) -> object:
    return _require(value, isinstance(value, bool))


def _text(value: object) -> object:
    return _require(value, isinstance(value, str))


def _content_type(value: object) -> object:
    return _require(value, isinstance(value, str) and value in _CONTENT_TYPES)


def _protocol(value: object) -> object:
    return _require(value, value == "ksmpv3")


def _raw_bytes(value: object) -> object:
    return _require(value, isinstance(value, bytes) and len(value) > 0)


def _base64(value: object) -> object:
    # The standard library would let one more `=` than there should be pass.
    _require(value, isinstance(value, str) and _BASE64.fullmatch(value) is not None)
    assert isinstance(value, str)
    return _raw_bytes(base64.b64decode(value, validate=True))


def _require(value: object, holds: bool) -> object:
    if not holds:
        raise _Invalid
    return value


def _envelope_fields(ciphertext: Field) -> Fields:
    return {
        "protocol": (_protocol, True),
        "conversationId": (_identifier, True),
        "messageId": (_identifier, True),
        "senderUserId": (_identifier, True),
        "recipientUserId": (_identifier, True),
        "ciphertext": (ciphertext, True),
        "contentType": (_content_type, True),
        "clientCreatedAtMs": (_integer, True),
        "idempotencyKey": (_identifier, True),
    }


_FIELDS: Final[dict[str, Fields]] = {
    "ksmpv3.send": {},  # one envelope, see `_event`
    "ksmpv3.ack.read": {
        "conversationId": (_identifier, True),
        "peerUserId": (_identifier, True),
        "serverSeq": (_integer, True),
        "private": (_boolean, False),
    },
    "ksmpv3.resume": {"lastGlobalInboxSeq": (_cursor, True), "epoch": (_identifier, False)},
    "ksmpv3.ping": {"nonce": (_identifier, False)},
    "ksmpv3.auth": {"token": (_text, True)},
}
_IDS: Final = {
    "ksmpv3.send": ("conversationId", "recipientUserId", "messageId", "idempotencyKey"),
    "ksmpv3.ack.read": ("conversationId",),
}


def is_identifier(value: object) -> bool:
    """Whether it may name a user, a device, a conversation, a message, a key, an epoch."""
    return isinstance(value, str) and _IDENTIFIER.fullmatch(value) is not None


def judge(frame: bytes, *, is_text: bool) -> tuple[Verdict, Event | None]:
    """What the frame must be taken for; and, where it is malformed, what to say it is about."""
    is_clear, value = _parsed_json(frame) if is_text else _parsed_msgpack(frame)
    if not is_clear:
        return None, None
    if not isinstance(value, dict):
        return "malformed", None
    if not all(isinstance(key, str) for key in value):
        return None, None
    kind = value.get("type")
    if not isinstance(kind, str) or kind not in _FIELDS:
        return "unknown_event", None
    try:
        return _event(kind, value, _envelope_fields(_base64 if is_text else _raw_bytes)), None
    except _Invalid:
        return "malformed", _about(kind, value)


def _event(kind: str, value: Event, envelope_fields: Fields) -> Event:
    rest = {name: field for name, field in value.items() if name != "type"}
    if kind != "ksmpv3.send":
        return {"type": kind} | _object(rest, _FIELDS[kind])
    if set(rest) != {"envelope"} or not isinstance(rest["envelope"], dict):
        raise _Invalid
    return {"type": kind, "envelope": _object(rest["envelope"], envelope_fields)}


def _object(value: Event, fields: Fields) -> Event:
    if not set(value) <= set(fields):
        raise _Invalid
    if not all(name in value for name, (_, is_required) in fields.items() if is_required):
        raise _Invalid
    return {name: check(value[name]) for name, (check, _) in fields.items() if name in value}


def _about(kind: str, value: Event) -> Event | None:
    """The type and the valid ids that an event of this type has; None where parsers may differ."""
    names, ids = _IDS.get(kind, ()), value.get("envelope") if kind == "ksmpv3.send" else value
    if not isinstance(ids, dict):
        return {"type": kind}
    if not all(isinstance(key, str) for key in ids):
        return None
    return {"type": kind} | {name: ids[name] for name in names if is_identifier(ids.get(name))}


# ── parsing: the value, and whether any two parsers would agree on it ────────────────────────


def _parsed_json(frame: bytes) -> tuple[bool, object]:
    try:
        text = frame.decode()
        value = json.loads(
            text,
            parse_constant=_refuse_constant,
            parse_float=_Float,
            object_pairs_hook=_unicode_object,
        )
        _require_unicode(value)
    except (ValueError, RecursionError):
        return False, None
    return True, value


def _unicode_object(pairs: list[tuple[str, object]]) -> Event:
    """The last of each key counts; what the others hold must be text all the same."""
    _require_unicode([list(pair) for pair in pairs])
    return dict(pairs)


def _require_unicode(value: object) -> None:
    """Raise for half of a surrogate pair, which some parsers let pass and others do not."""
    json.dumps(value, default=str, ensure_ascii=False).encode()


class _Float:
    """A number with a point or an exponent, which no field has."""

    def __init__(self, text: str) -> None:
        if len(text) > 300 or abs(float(text)) > 1e300:  # where parsers may differ
            raise ValueError


def _refuse_constant(name: str) -> object:
    raise ValueError(name)


def _parsed_msgpack(frame: bytes) -> tuple[bool, object]:
    try:
        return True, msgpack.unpackb(frame, raw=False, strict_map_key=False)
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException):
        return False, None
