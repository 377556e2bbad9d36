"""Encoding: what is wrong, or only unusual, in MessagePack."""

from __future__ import annotations

import json
from typing import Final

import msgpack  # type: ignore[import-untyped]

from tests.edge.answers import closed
from tests.edge.case import Case
from tests.edge.refusing import EVENTS, Bad, about, bad_msgpack, canary_envelope
from tests.edge.relays import CANARY
from tests.edge.stage import Stage
from tests.wire.codecs import MSGPACK, Event
from tests.wire.messages import ack_read, ping, send

ENCODING: Final = "Encoding"
ABOUT_PING: Final[Event] = {"type": "ksmpv3.ping"}


def _packed(value: object) -> bytes:
    packed = msgpack.packb(value)
    assert isinstance(packed, bytes)
    return packed


PING: Final = _packed(ping())
FULL_PING: Final = _packed(ping(CANARY))


def _map(count: int) -> bytes:
    """The head of a map of so many fields."""
    return b"\xdf" + count.to_bytes(4, "big")


def _ping_and(fields: bytes, count: int = 1) -> bytes:
    """A ping with `count` more fields, packed already."""
    return _map(1 + count) + PING[1:] + fields


def _with(value: object, field: str) -> Bad:
    """A send with this value in a field."""
    event = send(canary_envelope(**{field: value}))
    return Bad(_packed(event), about(event))


def _created(packed: bytes) -> Bad:
    """A send whose time is these packed bytes."""
    event = send(canary_envelope(clientCreatedAtMs=2**53 - 1))
    whole = _packed(event).replace(b"\xcf" + (2**53 - 1).to_bytes(8, "big"), packed)
    return Bad(whole, about(event))


def _with_packed_id(packed: bytes) -> Bad:
    """A send whose conversation is these packed bytes."""
    good, event = send(canary_envelope()), send(canary_envelope(conversationId=None))
    whole = _packed(good).replace(_packed(good["envelope"]["conversationId"]), packed)
    return Bad(whole, about(event))


def _ack(**fields: object) -> Bad:
    event = ack_read(f"{CANARY}-talk", f"{CANARY}-peer", 1) | fields
    return Bad(_packed(event), about(event))


_FOUR_G: Final = b"\xff\xff\xff\xff"
_MANY_FIELDS: Final = b"".join(b"\xa4%04x\x01" % n for n in range(65_000))
_ALIKE: Final = b"".join(_packed((n + 1) << 48) + b"\x01" for n in range(40_000))

BAD: Final = [
    bad_msgpack(ENCODING, "an empty message", b""),
    bad_msgpack(
        ENCODING,
        "bytes behind the map",
        PING + b"\xc0",
        PING * 2,
        FULL_PING + b"\x00",
        FULL_PING + CANARY.encode(),
    ),
    bad_msgpack(ENCODING, "a map cut short", FULL_PING[:-1], FULL_PING[:-8], PING[:1], b"\xde"),
    bad_msgpack(
        ENCODING,
        "the byte 0xC1, which is never used",
        b"\xc1",
        b"\x81\xa4type\xc1",
        _ping_and(b"\xa1x" + b"\xc1"),
        _ping_and(b"\xc1\xa1x"),
    ),
    bad_msgpack(
        ENCODING,
        "not a map: nil, numbers, string, array, bin, ext",
        *map(_packed, (None, 1, -1, 1.5, True, CANARY, [], [ping()], CANARY.encode())),
        _packed(msgpack.ExtType(5, CANARY.encode())),
        _packed(msgpack.Timestamp(1)),
    ),
    bad_msgpack(
        ENCODING,
        "arrays, maps, strings, bins and exts of 4 G with nothing behind",
        b"\xdd" + _FOUR_G,
        b"\xdf" + _FOUR_G,
        *(b"\x81\xa4type" + kind + _FOUR_G for kind in (b"\xc6", b"\xdb", b"\xc9")),
        _ping_and(b"\xa1x" + b"\xdd" + _FOUR_G),
        _ping_and(b"\xa1x" + b"\xdf" + _FOUR_G),
        _ping_and(b"\xa5nonce" + b"\xdb" + _FOUR_G + CANARY.encode()),
    ),
    bad_msgpack(
        ENCODING,
        "100,000 arrays or maps deep",
        b"\x91" * 100_000,
        b"\x91" * 100_000 + b"\x90",
        b"\x81\xa1x" * 100_000 + b"\x80",
    ),
    bad_msgpack(
        ENCODING,
        "an unknown field 100,000 arrays or maps deep",
        _ping_and(b"\xa1x" + b"\x91" * 100_000 + b"\x90"),
        _ping_and(b"\xa1x" + b"\x81\xa1x" * 100_000 + b"\x80"),
    ),
    bad_msgpack(
        ENCODING,
        "as many unknown fields as fit",
        Bad(_ping_and(_MANY_FIELDS, count=65_000), ABOUT_PING),
    ),
    bad_msgpack(
        ENCODING,
        "as many fields as fit, and no type; one field 130,000 times",
        _map(65_000) + _MANY_FIELDS,
        _map(130_000) + b"\xa1x\x01" * 130_000,
        code="unknown_event",
    ),
    bad_msgpack(
        ENCODING,
        "integers, floats, bins, nil, booleans, maps or arrays for keys",
        *(_ping_and(_packed(key) + b"\x02") for key in (1, -1, 1.5, None, True, CANARY.encode())),
        _ping_and(b"\x80\x02"),
        _ping_and(b"\x90\x02"),
        b"\x81" + _packed(b"type") + _packed("ksmpv3.ping"),
    ),
    bad_msgpack(
        ENCODING,
        "40,000 integers for keys, alike in their low 48 bits",
        _ping_and(_ALIKE, count=40_000),
        Bad(_ping_and(b"\xa1x" + _map(40_000) + _ALIKE), ABOUT_PING),
    ),
    bad_msgpack(
        ENCODING,
        "a string that is not UTF-8: a stray byte, surrogates, an overlong NUL",
        *(
            Bad(_ping_and(b"\xa5nonce" + bytes([0xA0 | len(text)]) + text), ABOUT_PING)
            for text in (b"\xff", b"\xed\xa0\x80", b"\xed\xa0\xbd\xed\xb8\x80", b"\xc0\x80")
        ),
        _with_packed_id(b"\xa3\xed\xa0\x80"),
    ),
    bad_msgpack(
        ENCODING,
        "a bin for a string",
        *(
            _with(CANARY.encode(), field)
            for field in ("protocol", "conversationId", "recipientUserId", "contentType")
        ),
        _ack(peerUserId=CANARY.encode()),
        Bad(_packed(ping() | {"nonce": CANARY.encode()}), ABOUT_PING),
    ),
    bad_msgpack(
        ENCODING,
        "a bin for the type",
        _packed({"type": b"ksmpv3.ping"}),
        code="unknown_event",
    ),
    bad_msgpack(
        ENCODING,
        "a string, even of base64, or a list for a ciphertext",
        *(_with(value, "ciphertext") for value in ("c2VhbGVk", "", CANARY, [1, 2], 5)),
    ),
    bad_msgpack(ENCODING, "an empty bin for a ciphertext", _with(b"", "ciphertext")),
    bad_msgpack(
        ENCODING,
        "an ext, a timestamp",
        _with(msgpack.ExtType(5, CANARY.encode()), "ciphertext"),
        _with(msgpack.ExtType(5, CANARY.encode()), "conversationId"),
        _with(msgpack.Timestamp(1), "clientCreatedAtMs"),
        _with(msgpack.Timestamp(1, 5), "clientCreatedAtMs"),
        _ack(serverSeq=msgpack.Timestamp(1)),
        Bad(_ping_and(b"\xa1x" + _packed(msgpack.ExtType(1, b""))), ABOUT_PING),
    ),
    bad_msgpack(
        ENCODING,
        "NaN, infinities, whole floats of 32 and 64 bits",
        *(_with(float(name), "clientCreatedAtMs") for name in ("nan", "inf", "-inf", "-0.0")),
        _created(b"\xca\x3f\x80\x00\x00"),
        _created(b"\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00"),
    ),
    bad_msgpack(
        ENCODING,
        "−1 in each of its forms",
        *(_created(packed) for packed in (b"\xff", b"\xd0\xff", b"\xd1\xff\xff")),
        *(_created(packed) for packed in (b"\xd2" + b"\xff" * 4, b"\xd3" + b"\xff" * 8)),
    ),
    bad_msgpack(
        ENCODING,
        "JSON in a binary message",
        json.dumps(ping(CANARY)).encode(),
        json.dumps(ping(CANARY)).encode("utf-16"),
    ),
]


# ── what is good, though unusual ─────────────────────────────────────────────────────────────


async def _repeated_keys(stage: Stage) -> None:
    last = stage.fresh("last")
    nonce = _packed("nonce") + _packed(last)
    kind, none = PING[1:], _packed("type") + _packed("ksmpv3.nope")
    async with stage.connect(MSGPACK) as connection:
        for packed in (
            b"\x83" + kind + _packed("nonce") + _packed(CANARY) + nonce,
            b"\x83" + kind + _packed("nonce") + b"\x05" + nonce,
            b"\x83" + none + nonce + kind,
            _map(20_002) + none * 20_000 + nonce + kind,
        ):
            await connection.tell_raw(packed)
            event = await connection.event()
            assert (event["type"], event.get("nonce")) == ("ksmpv3.pong", last), event
        await connection.tell_raw(b"\x82" + kind + none)
        await connection.error("unknown_event")
        await connection.tell_raw(b"\x83" + kind + nonce + _packed("nonce") + b"\x05")
        await connection.error("malformed", ABOUT_PING)
        await connection.still_works()


async def _longer_forms(stage: Stage) -> None:
    async with stage.connect(MSGPACK) as connection:
        envelope = connection.envelope(clientCreatedAtMs=5)
        await connection.tell(send(envelope))
        ack = await connection.ack_of(envelope)
        for five in (b"\xcc\x05", b"\xcd\0\x05", b"\xcf" + b"\0" * 7 + b"\x05", b"\xd0\x05"):
            await connection.tell_raw(_in_long_forms(envelope, five))
            assert await connection.event() == ack
        await connection.still_works()


def _in_long_forms(envelope: Event, five: bytes) -> bytes:
    """A send in which every length takes four bytes, and the time is written so."""

    def text(value: str) -> bytes:
        return b"\xdb" + len(value).to_bytes(4, "big") + value.encode()

    def field(value: object) -> bytes:
        match value:
            case str():
                return text(value)
            case bytes():
                return b"\xc6" + len(value).to_bytes(4, "big") + value
            case _:
                return five

    fields = b"".join(text(name) + field(value) for name, value in envelope.items())
    whole = text("type") + text("ksmpv3.send") + text("envelope")
    return _map(2) + whole + _map(len(envelope)) + fields


async def _text(stage: Stage) -> None:
    async with stage.connect(MSGPACK) as connection:
        await connection.tell_raw(json.dumps(ping(CANARY)))
        await connection.closes(1003)


CASES: Final[list[Case]] = [
    *BAD,
    Case(
        ENCODING,
        "a repeated key, `type` too (MessagePack)",
        EVENTS,
        "the last one counts",
        _repeated_keys,
    ),
    Case(
        ENCODING,
        "longer forms than needed (MessagePack)",
        EVENTS,
        "taken; of the same key the same acknowledgement",
        _longer_forms,
    ),
    Case(
        ENCODING,
        "JSON in a text message (MessagePack)",
        "How a connection ends",
        closed(1003),
        _text,
    ),
]
