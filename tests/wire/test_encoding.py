"""What is one valid event in each subprotocol, and the refusal of everything else (section 3)."""

from __future__ import annotations

import base64
import json
from typing import NamedTuple

import msgpack  # type: ignore[import-untyped]
import pytest

from tests.wire.codecs import JSON, MSGPACK, Codec, Event, RawFrame
from tests.wire.connecting import Clients
from tests.wire.messages import envelope, fresh, ping, resume, send
from tests.wire.raw import TEXT, RawSocket, frame, message


def _packed(event: object) -> bytes:
    packed = msgpack.packb(event)
    assert isinstance(packed, bytes)
    return packed


PING = _packed(ping())
USER = "encoder"
NO_INTEGERS: list[object] = [-1, 2**53, 2**64 - 1, 1.5, 1.0, 0.0, True, False, "1", [1], {}]
NO_MAPS: list[object] = [None, 1, "x", [], b"x", 1.5]
ERROR_ORDER = ["type", "code", "message", "retryable", "action", "about"]


class Bad(NamedTuple):
    """A message that is not one valid event, and the code of its refusal."""

    name: str
    frame: RawFrame
    code: str = "malformed"


def _send(codec: Codec, **fields: object) -> RawFrame:
    return codec.encode(send(envelope(USER, "bob", **fields)))


def _send_without(codec: Codec, field: str) -> RawFrame:
    fields = envelope(USER, "bob")
    del fields[field]
    return codec.encode(send(fields))


def _nested(depth: int) -> object:
    return [_nested(depth - 1)] if depth else 1


def _of_both(codec: Codec) -> list[Bad]:
    """What is wrong in either subprotocol."""
    encode = codec.encode
    ack = {"type": "ksmpv3.ack.read", "conversationId": "c", "peerUserId": "p", "serverSeq": 1}
    return [
        *(
            Bad(f"unknown type {kind!r}", encode({"type": kind}), "unknown_event")
            for kind in ("ksmpv3.nope", "", "KSMPV3.PING", "ksmpv3.connected", 5, None, True)
        ),
        Bad("no type", encode({}), "unknown_event"),
        Bad("no type, other fields", encode({"nonce": "n"}), "unknown_event"),
        Bad("unknown field", encode(ping() | {"extra": 1})),
        Bad("unknown field, nested 9 deep", encode(ping() | {"extra": _nested(9)})),
        Bad("unknown field in the envelope", _send(codec, extra="x")),
        Bad("serverSeq from a client", _send(codec, serverSeq=1)),
        Bad("serverReceivedAtMs from a client", _send(codec, serverReceivedAtMs=1)),
        Bad("no envelope", encode({"type": "ksmpv3.send"})),
        Bad("nil envelope", encode({"type": "ksmpv3.send", "envelope": None})),
        Bad("list for envelope", encode({"type": "ksmpv3.send", "envelope": []})),
        *(Bad(f"no {name}", _send_without(codec, name)) for name in envelope(USER, "bob")),
        *(Bad(f"nil {name}", _send(codec, **{name: None})) for name in envelope(USER, "bob")),
        Bad("other protocol", _send(codec, protocol="ksmpv2")),
        Bad("other contentType", _send(codec, contentType="video")),
        Bad("number for conversationId", _send(codec, conversationId=1)),
        Bad("list for conversationId", _send(codec, conversationId=["c"])),
        Bad("empty ciphertext", _send(codec, ciphertext=b"")),
        *(
            Bad(f"{value!r} for clientCreatedAtMs", _send(codec, clientCreatedAtMs=value))
            for value in NO_INTEGERS
        ),
        *(
            Bad(f"{value!r} for serverSeq", encode(ack | {"serverSeq": value}))
            for value in (*NO_INTEGERS, None)
        ),
        *(Bad(f"{value!r} for private", encode(ack | {"private": value})) for value in (1, None)),
        *(
            Bad(
                f"{value!r} for the cursor",
                encode(resume(0, lastGlobalInboxSeq=value)),
            )
            for value in NO_INTEGERS
        ),
        Bad("no cursor", encode({"type": "ksmpv3.resume"})),
        Bad("nil epoch", encode({"type": "ksmpv3.resume", "lastGlobalInboxSeq": 0, "epoch": None})),
        Bad("nil nonce", encode(ping() | {"nonce": None})),
        Bad("no token", encode({"type": "ksmpv3.auth"})),
    ]


MSGPACK_TABLE = [
    *_of_both(MSGPACK),
    Bad("empty", b""),
    Bad("trailing bytes", PING + b"\xc0"),
    Bad("two events", PING * 2),
    Bad("truncated", PING[:-1]),
    Bad("0xC1", b"\xc1"),
    Bad("0xC1 for a value", b"\x81\xa4type\xc1"),
    *(Bad(f"not a map: {value!r}", _packed(value)) for value in NO_MAPS),
    Bad("JSON", json.dumps(ping()).encode()),
    *(
        Bad(f"4 G of {kind}", prefix + b"\xff\xff\xff\xff")
        for kind, prefix in (
            ("array", b"\xdd"),
            ("map", b"\xdf"),
            ("bin", b"\x81\xa4type\xc6"),
            ("str", b"\x81\xa4type\xdb"),
            ("ext", b"\x81\xa4type\xc9"),
        )
    ),
    Bad("100,000 arrays deep", b"\x91" * 100_000 + b"\x90"),
    Bad("100,000 maps deep", b"\x81\xa1x" * 100_000 + b"\x80"),
    Bad("integer key", b"\x82" + PING[1:] + b"\x01\x02"),
    Bad("map for a key", b"\x82" + PING[1:] + b"\x80\x02"),
    Bad("not UTF-8", b"\x82" + PING[1:] + b"\xa5nonce\xa1\xff"),
    Bad("bin for conversationId", _send(MSGPACK, conversationId=b"c")),
    Bad("str for ciphertext", _send(MSGPACK, ciphertext="c2VhbGVk")),
    Bad("list for ciphertext", _send(MSGPACK, ciphertext=[1, 2])),
    Bad("ext for ciphertext", _send(MSGPACK, ciphertext=msgpack.ExtType(5, b"x"))),
    Bad("timestamp for clientCreatedAtMs", _send(MSGPACK, clientCreatedAtMs=msgpack.Timestamp(1))),
    Bad("NaN", _send(MSGPACK, clientCreatedAtMs=float("nan"))),
]


def _json_send(ciphertext: object) -> str:
    event = send(envelope(USER, "bob", ciphertext=ciphertext))
    return json.dumps(event)


def _json_created(number: str) -> str:
    text = str(JSON.encode(send(envelope(USER, "bob", clientCreatedAtMs=777_777))))
    return text.replace("777777", number)


JSON_TABLE = [
    *_of_both(JSON),
    Bad("empty", ""),
    Bad("space", " "),
    Bad("trailing text", '{"type":"ksmpv3.ping"}x'),
    Bad("two events", '{"type":"ksmpv3.ping"}{"type":"ksmpv3.ping"}'),
    Bad("truncated", '{"type":"ksmpv3.ping"'),
    *(Bad(f"not an object: {text}", text) for text in ("null", "1", '"x"', "[]", "true", "1.5")),
    Bad("trailing comma", '{"type":"ksmpv3.ping",}'),
    Bad("single quotes", "{'type':'ksmpv3.ping'}"),
    Bad("comment", '{"type":"ksmpv3.ping"/**/}'),
    Bad("byte order mark", '\ufeff{"type":"ksmpv3.ping"}'),
    Bad("UTF-16 without a mark", "".join(f"{c}\0" for c in '{"type":"ksmpv3.ping"}')),
    Bad("control character in a string", '{"type":"ksmpv3.ping","nonce":"a\nb"}'),
    Bad("lone high surrogate", r'{"type":"ksmpv3.ping","nonce":"\ud800"}'),
    Bad("lone low surrogate", r'{"type":"ksmpv3.ping","nonce":"\udc00"}'),
    Bad("100,000 arrays deep", "[" * 100_000),
    Bad("50,000 objects deep", '{"x":' * 50_000),
    *(
        Bad(f"{text[:9]} for clientCreatedAtMs", _json_created(text))
        for text in ("1e3", "1E3", "NaN", "Infinity", "-Infinity", "01", "+1", "0x1", "9" * 5_000)
    ),
    *(
        Bad(f"ciphertext {name}", _json_send(text))
        for name, text in (
            ("empty", ""),
            ("unpadded", "c2VhbGVkMQ"),
            ("half padded", "c2VhbGVkMQ="),
            ("over-padded", "c2VhbGVk===="),
            ("url-safe", "-_-_"),
            ("with a line break", "c2Vh\nbGVk"),
            ("with a space", "c2Vh bGVk"),
            ("with text behind the padding", "YQ==YQ=="),
            ("of one character", "Y==="),
            ("not ASCII", "c2Vhé==="),
            ("as a number", 5),
            ("as a list", [1, 2]),
        )
    ),
]


@pytest.mark.parametrize("case", JSON_TABLE, ids=lambda case: case.name)
def test_bad_json_is_refused_and_the_connection_goes_on(case: Bad, client: Clients) -> None:
    _assert_refused(case, client, JSON)


@pytest.mark.parametrize("case", MSGPACK_TABLE, ids=lambda case: case.name)
def test_bad_msgpack_is_refused_and_the_connection_goes_on(case: Bad, client: Clients) -> None:
    _assert_refused(case, client, MSGPACK)


def _assert_refused(case: Bad, client: Clients, codec: Codec) -> None:
    with client.connect_raw(USER, codec) as socket:
        socket.send(message(case.frame))
        error = socket.event(codec)
        assert error["type"] == "ksmpv3.error"
        assert (error["code"], error["retryable"], error["action"]) == (case.code, False, "fix")
        assert list(error) == [name for name in ERROR_ORDER if name in error]
        assert set(error.get("about", {})) <= set(ABOUT_ORDER)
        socket.send(message(codec.encode(ping("after"))))
        assert socket.event(codec)["nonce"] == "after"


ABOUT_ORDER = ["type", "conversationId", "recipientUserId", "messageId", "idempotencyKey"]


def test_malformed_send_is_named_by_those_of_its_ids_that_are_valid(
    client: Clients, codec: Codec
) -> None:
    good = envelope(USER, "bob")
    expected = {"type": "ksmpv3.send"} | {name: good[name] for name in ABOUT_ORDER[1:]}
    bad: list[tuple[Event, set[str]]] = [
        ({"contentType": "video"}, set()),
        ({"messageId": "not valid"}, {"messageId"}),
        ({"idempotencyKey": "k" * 129, "conversationId": 7}, {"idempotencyKey", "conversationId"}),
    ]
    with client.connect_raw(USER, codec) as socket:
        for changed, invalid in bad:
            socket.send(message(codec.encode(send(good | changed))))
            about = socket.event(codec)["about"]
            assert about == {name: v for name, v in expected.items() if name not in invalid}
            assert list(about) == [name for name in ABOUT_ORDER if name in about]


def test_unknown_event_echoes_nothing(client: Clients, codec: Codec) -> None:
    with client.connect_raw(USER, codec) as socket:
        socket.send(message(codec.encode({"type": "ksmpv3.echo-me", "conversationId": "echo-me"})))
        assert "echo-me" not in repr(socket.event(codec))


def test_utf_16_text_is_not_utf_8(client: Clients) -> None:
    with client.connect_raw() as socket:
        socket.send(frame(TEXT, '{"type":"ksmpv3.ping"}'.encode("utf-16")))
        assert socket.close_code() == 1007


@pytest.mark.parametrize(
    ("text", "nonce"),
    [
        ('{"type":"ksmpv3.ping","nonce":"first","nonce":"last"}', "last"),
        ('{"type":"ksmpv3.ping","nonce":5,"nonce":"last"}', "last"),
        ('{"type":"ksmpv3.nope","nonce":"last","type":"ksmpv3.ping"}', "last"),
        ('{"nonce":"last","type":"ksmpv3.ping"}', "last"),
        (' {"type" : "ksmpv3.ping",\r\n\t"nonce":"\\u006c\\u0061st"} ', "last"),
    ],
)
def test_json_may_be_written_freely_and_the_last_of_a_repeated_key_counts(
    text: str, nonce: str, client: Clients
) -> None:
    with client.connect_raw() as socket:
        socket.send(message(text))
        assert socket.event()["nonce"] == nonce


def test_last_of_a_repeated_type_counts_though_it_is_unknown(client: Clients) -> None:
    with client.connect_raw() as socket:
        socket.send(message('{"type":"ksmpv3.ping","type":"ksmpv3.nope"}'))
        assert socket.event()["code"] == "unknown_event"


@pytest.mark.parametrize(
    "packed",
    [
        b"\x83\xa4type\xabksmpv3.ping\xa5nonce\xa5first\xa5nonce\xa4last",
        b"\xdf\x00\x00\x00\x02\xd9\x04type\xda\x00\x0bksmpv3.ping\xa5nonce\xdb\x00\x00\x00\x04last",
    ],
    ids=["repeated key", "longer forms than needed"],
)
def test_msgpack_may_be_written_freely_and_the_last_of_a_repeated_key_counts(
    packed: bytes, client: Clients
) -> None:
    with client.connect_raw(codec=MSGPACK) as socket:
        socket.send(message(packed))
        assert socket.event(MSGPACK)["nonce"] == "last"


@pytest.mark.parametrize("number", [0, 2**53 - 1])
def test_integers_up_to_the_bounds_are_taken(number: int, client: Clients, codec: Codec) -> None:
    with client.connect_raw(USER, codec) as socket:
        socket.send(message(_send(codec, clientCreatedAtMs=number)))
        assert socket.event(codec)["type"] == "ksmpv3.send.ack"


def test_base64_with_stray_bits_is_taken_as_the_bytes_it_means(client: Clients) -> None:
    user = fresh("user")
    event = send(envelope(user, user))
    event["envelope"]["ciphertext"] = "YR=="
    with client.connect_raw(user) as socket:
        _resume(socket)
        socket.send(message(json.dumps(event)))
        received = [socket.event(), socket.event()]
        (delivered,) = (event for event in received if event["type"] == "ksmpv3.inbox.frame")
        assert delivered["envelope"]["ciphertext"] == base64.b64decode("YQ==")


def _resume(socket: RawSocket) -> None:
    socket.send(message('{"type":"ksmpv3.resume","lastGlobalInboxSeq":null}'))
    assert socket.event()["type"] == "ksmpv3.resume.complete"
