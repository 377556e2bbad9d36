"""Where fuzzing begins: what honest peers say, and one of each kind of thing that others do."""

from __future__ import annotations

import json
from typing import Final

from msgspec import UNSET
from websockets.frames import Frame, Opcode

from ksmp.codec import JSON, MSGPACK
from ksmp.errors import error
from ksmp.events import (
    AckRead,
    Auth,
    AuthOk,
    ClientEvent,
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
    ConversationId,
    Epoch,
    GlobalInboxSeq,
    IdempotencyKey,
    MessageId,
    Nonce,
    ServerSeq,
    TimeMs,
)
from tests.actors.world import ALICE, BOB, TALK, envelope
from tests.fuzz import codec_target, handshake_target, token_target

_CHAIN: Final = bytes(range(32))
_IDS: Final = (ConversationId("talk"), BOB, MessageId("m"), IdempotencyKey("k"))
_CLIENT_EVENTS: Final[tuple[ClientEvent, ...]] = (
    Send(envelope()),
    AckRead(TALK, BOB, ServerSeq(3)),
    AckRead(TALK, BOB, ServerSeq(3), True),
    Resume(None),
    Resume(GlobalInboxSeq(4), Epoch("epoch-1")),
    Ping(),
    Ping(Nonce("1")),
    Auth("a.b.c"),
)
_RECORDED: Final = RecordedEnvelope(
    "ksmpv3", TALK, MessageId("m"), ALICE, BOB, b"sealed", "text", TimeMs(1), ServerSeq(1),
    TimeMs(2), IdempotencyKey("k"),
)  # fmt: skip
_SERVER_EVENTS: Final[tuple[ServerEvent, ...]] = (
    InboxFrame(GlobalInboxSeq(2), GlobalInboxSeq(1), _RECORDED, _CHAIN),
    SendAck(*_IDS, ServerSeq(1), TimeMs(2), _CHAIN),
    ResumeComplete(GlobalInboxSeq(2)),
    Read(TALK, ALICE, BOB, ServerSeq(1), TimeMs(2)),
    Pong(UNSET, TimeMs(1)),
    AuthOk(TimeMs(1)),
    error("overloaded"),
)

_HEADERS: Final = (
    b"Host: relay.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: c2l4dGVlbiBieXRlcy4uLg==\r\nSec-WebSocket-Version: 13\r\n"
)
_REQUEST: Final = b"GET /ksmp/v3 HTTP/1.1\r\n" + _HEADERS
_REQUESTS: Final = (
    _REQUEST + b"\r\n",
    _REQUEST + b"Authorization: Bearer a.b.c\r\n\r\nrest",
    _REQUEST + b"Sec-WebSocket-Protocol: ksmpv3.msgpack, ksmpv3.bearer.a.b.c\r\n\r\n",
    _REQUEST + b"Sec-WebSocket-Protocol: ksmpv3.json\r\n\r\n",
    _REQUEST + b"Sec-WebSocket-Protocol: other\r\n\r\n",
    _REQUEST + b"Origin: https://app.example\r\n\r\n",
    _REQUEST + b"Origin: http://relay.example\r\n\r\n",
    _REQUEST + b"X-Forwarded-For: 192.0.2.1, 192.0.2.2\r\n\r\n",
    _REQUEST + b"Content-Length: 3\r\n\r\nabc",
    _REQUEST.replace(b"c2l4", b"c2l") + b"\r\n",
    _REQUEST + b"X: \xff\r\n\r\n",
    _REQUEST + b"X: y\r\n" * 9 + b"\r\n",
    _REQUEST + b"X: " + b"y" * 400 + b"\r\n\r\n",
    b"GET /ksmp/v3?token=x HTTP/1.1\r\n" + _HEADERS + b"\r\n",
    b"GET / HTTP/1.1\r\n" + _HEADERS + b"\r\n",
    b"POST /ksmp/v3 HTTP/1.1\r\n" + _HEADERS + b"\r\n",
    b"GET /ksmp/v3 HTTP/1.1\r\nHost: relay.example\r\n\r\n",
    b"GET /ksmp/v3 HTTP/1.0\r\n\r\n",
    b"\x16\x03\x01",
    b"",
)
_ACCEPTED: Final = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: FlYPPSB53TTF16oKOkJqU84hNz0=\r\n"
)
_ANSWERS: Final = (
    _ACCEPTED + b"Sec-WebSocket-Protocol: ksmpv3.msgpack\r\n\r\n\x82\x01a",
    _ACCEPTED + b"\r\n",
    _ACCEPTED + b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
    b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\n{}",
    b"HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    b"HTTP/1.1 302 Elsewhere\r\nLocation: /\r\n\r\n",
    b"SSH-2.0",
)
_ADDRESSES: Final = (
    b"192.0.2.1\n198.51.100.1",
    b"10.0.0.1\n198.51.100.1\n10.0.0.2",
    b"127.0.0.1\n[2001:db8::1]:443\n::ffff:192.0.2.1",
    b"2001:db8::1\nfe80::1%eth0\n192.0.2.1:80\nunknown",
)


def seeds() -> dict[str, list[bytes]]:
    """The seeds of each target."""
    return {
        "codec": _codec_seeds(),
        "handshake": _handshake_seeds(),
        "frames": _frames_seeds(),
        "connection": _connection_seeds(),
    }


def _codec_seeds() -> list[bytes]:
    made = []
    for codec, flag in ((MSGPACK, 0), (JSON, codec_target.IS_JSON)):
        made += [bytes([flag]) + codec.encode(event) for event in _CLIENT_EVENTS]
        from_server = bytes([flag | codec_target.FROM_SERVER])
        made += [from_server + codec.encode(event) for event in _SERVER_EVENTS]
    foreign = envelope("k y", conversation="caf\u00e9", text=b"a")
    misplaced = b'{"type":"ksmpv3.send","envelope":{"messageId":"m 1","idempotencyKey":"k"}}'
    made += [b"\x00" + MSGPACK.encode(Send(foreign)), b"\x01" + JSON.encode(Send(foreign))]
    made += [b"\x01" + JSON.encode(Send(envelope(text=b"a" * size))) for size in (1, 2)]
    made += [b"\x01" + misplaced, b"\x01" + misplaced.replace(b'"k"', b"7")]
    return [*made, b"", b"\x00\x80", b"\x01{}", b"\x01[]", b"\x01\xff", b"\x03\xff", b"\x02\xc0"]


def _handshake_seeds() -> list[bytes]:
    made = []
    for number, request in enumerate(_REQUESTS):
        bits = 4 if len(request) > 300 else number % 4
        made.append(bytes([handshake_target.REQUEST, bits, 7, 100, number]) + request)
    made += [bytes([handshake_target.ANSWER, 0, 9, 1]) + answer for answer in _ANSWERS]
    for trusted in range(4):
        made += [bytes([handshake_target.ADDRESS, trusted]) + text for text in _ADDRESSES]
    token = bytes([handshake_target.TOKEN])
    made += [token + bytes([0, 0, 0, place, 1, 65]) for place in (9, 60, 180, 255)]
    made += [token + bytes([0, 0]), token + bytes([0, 1])]
    made += [token + bytes([1]), token + bytes([1]) + token_target.ISSUED["Ed25519"].encode()]
    made.append(token + bytes([1]) + token_target.unsigned().encode())
    for change in ({}, {"exp": 1}, {"iat": 1}, {"nbf": 2**40}, {"aud": ["relay"]}, {"sub": ""}):
        claims = json.dumps(token_target.CLAIMS | change, separators=(",", ":"))
        made.append(token + bytes([2]) + claims.encode())
    return made


def _frames_seeds() -> list[bytes]:
    made: list[bytes] = []
    for bits in (0, 1, 4, 5, 6, 10, 15):
        is_masked, opcode = not bits & 1, Opcode.TEXT if bits & 2 else Opcode.BINARY
        other = Opcode.BINARY if bits & 2 else Opcode.TEXT
        for frames in (
            [(opcode, b"a", True), (Opcode.PING, b"p", True), (Opcode.CLOSE, b"\x03\xe8", True)],
            [(opcode, b"x" * 126, True), (Opcode.PONG, b"", True), (opcode, b"", True)],
            [(opcode, b"a", False), (Opcode.PING, b"", True), (Opcode.CONT, b"b", True)],
            [(opcode, b"a", False), (Opcode.CLOSE, b"", True)],
            [(opcode, b"y" * 130, False), (Opcode.CONT, b"z", True)],
            [(opcode, b"", False), *[(Opcode.CONT, b"", False)] * 4],
            [(other, b"a", True)],
            [(Opcode.CONT, b"a", True)],
            [(Opcode.PING, b"", True)] * 21,
            [(Opcode.CLOSE, b"\x03\xe8\xff", True)],
        ):
            stream = b"".join(_frame(*one, is_masked) for one in frames)
            made.append(bytes([bits, 1, 3, 40, len(made)]) + stream)
    return made


def _frame(opcode: Opcode, payload: bytes, fin: bool, is_masked: bool) -> bytes:
    """A frame whose mask, if it has one, changes nothing."""
    plain = Frame(opcode, payload, fin).serialize(mask=False)
    if not is_masked:
        return plain
    header = plain[: len(plain) - len(payload)]
    return bytes([header[0], header[1] | 0x80]) + header[2:] + bytes(4) + payload


_SEND: Final = bytes([7, 0, 8, 1, 0, 0, 0])  # alice sends bob what has key 1
_OTHER: Final = bytes([7, 0, 8, 1, 5, 0, 0])  # the same key, another text
_RESUME: Final = bytes([7, 0, 0, 0, 0])
_BOB_RESUMES: Final = bytes([7, 1, 0, 0, 0])
_PING: Final = bytes([7, 0, 2, 1])
_READ: Final = bytes([7, 1, 4, 1, 0, 0, 1])  # bob has read alice's first
_TRUNCATE: Final = bytes([5, 0, 1, 100])


def _connection_seeds() -> list[bytes]:
    plays = (
        _PING + _RESUME + _RESUME + _SEND + _SEND + _OTHER,
        _SEND + _BOB_RESUMES + _READ + _RESUME,
        _SEND + bytes([0, 1, 0]) + _TRUNCATE + _BOB_RESUMES,
        bytes([4, 0, 0, 1]) + _SEND + _RESUME + bytes([4, 0, 0, 0]),
        bytes([4, 0, 1, 1]) + _SEND + bytes([4, 0, 1, 0]) + _SEND,
        _PING + bytes([4, 0, 2, 1]) + _SEND,
        _SEND + _SEND + bytes([4, 0, 3, 1]) + _RESUME,
        _PING + bytes([2, 0, 1]) + _SEND * 3 + bytes([3, 0, 4]) + bytes([2, 0, 0]),
        _PING + bytes([3, 0, 5]) + bytes([3, 0, 6]) + bytes([3, 0, 7]),
        bytes([0, 0, 1]) + bytes([3, 0, 7]),
        bytes([0, 0, 2]) + bytes([7, 0, 3, 0]) + _PING,
        bytes([7, 0, 3, 0]) * 2 + bytes([7, 0, 3, 1]),
        _PING + bytes([0, 0, 0]) + _PING + bytes([1, 0]),
        _SEND + bytes([6, 0]) + _PING,
        bytes([7, 0, 6, 1, 0]) * 4,
        bytes([7, 0, 0, 9, 0]) + bytes([7, 0, 0, 0, 5]) + bytes([7, 0, 0, 255, 0]),
        bytes([15, 0, 7]) + _SEND[2:] * 8,
        bytes([15, 0, 7]) + b"".join(bytes([8, key, 0, 0, 0]) for key in range(8)),
        bytes([7, 0, 8, 1, 7, 0, 0]) + bytes([7, 0, 8, 1, 0, 0, 4]),
        bytes([7, 0, 8, 1, 6, 69, 0, 0]),
    )
    settings = (1, 2, 64, 129)
    return [
        bytes([setting]) + play
        for number, play in enumerate(plays)
        for setting in (0, settings[number % len(settings)])
    ]
