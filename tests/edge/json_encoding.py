"""Encoding: what is wrong, or only unusual, in JSON."""

from __future__ import annotations

import base64
import json
from typing import Final

from tests.edge.answers import closed
from tests.edge.case import Case
from tests.edge.connection import Connection
from tests.edge.refusing import EVENTS, Bad, about, bad_json, canary_envelope
from tests.edge.relays import CANARY
from tests.edge.stage import Stage
from tests.wire.codecs import JSON, Event
from tests.wire.messages import ping, resume, send
from tests.wire.raw import TEXT, frame

ENCODING: Final = "Encoding"
PING: Final = f'{{"type":"ksmpv3.ping","nonce":"{CANARY}"}}'
ABOUT_PING: Final[Event] = {"type": "ksmpv3.ping"}
_PLACE: Final = 777_777
_MANY_FIELDS: Final = ",".join(f'"{n:05x}":1' for n in range(35_000))
_MANY_TYPES: Final = '"type":"ksmpv3.nope",' * 15_000


def _nonce(literal: str, *, is_event: bool = True) -> Bad:
    """A ping with this literal for its nonce; `is_event`: it is JSON."""
    text = f'{{"type":"ksmpv3.ping","nonce":{literal}}}'
    return Bad(text, ABOUT_PING if is_event else None)


def _created(literal: str, *, is_event: bool = True) -> Bad:
    """A send with this literal for its time."""
    event = send(canary_envelope(clientCreatedAtMs=_PLACE))
    text = json.dumps(event | {"envelope": _with_text(event["envelope"])})
    return Bad(text.replace(str(_PLACE), literal), about(event) if is_event else None)


def _sealed(ciphertext: object) -> Bad:
    """A send with this JSON value for its ciphertext."""
    event = send(canary_envelope(ciphertext=ciphertext))
    return Bad(json.dumps(event), about(event))


def _with_text(envelope: Event) -> Event:
    return envelope | {"ciphertext": base64.b64encode(envelope["ciphertext"]).decode()}


BAD: Final = [
    bad_json(ENCODING, "an empty message, white space alone", "", " ", "\r\n\t"),
    bad_json(
        ENCODING,
        "bytes behind the object",
        f"{PING}x",
        PING * 2,
        f"{PING},",
        f"{PING}\0",
        f"{PING}{CANARY}",
    ),
    bad_json(ENCODING, "an object cut short", PING[:-1], PING[:-2], PING[:8], "{"),
    bad_json(
        ENCODING,
        "not an object: null, number, string, array, boolean",
        "null",
        "1",
        "-1.5e300",
        f'"{CANARY}"',
        "[]",
        f"[{PING}]",
        "true",
    ),
    bad_json(
        ENCODING,
        "comments, trailing commas, single quotes, bare keys",
        '{"type":"ksmpv3.ping"/**/}',
        '{"type":"ksmpv3.ping"}//',
        '{"type":"ksmpv3.ping",}',
        "{'type':'ksmpv3.ping'}",
        '{type:"ksmpv3.ping"}',
        '{"type":"ksmpv3.ping" "nonce":"n"}',
    ),
    bad_json(
        ENCODING,
        "white space that is not JSON's: a no-break space, a form feed",
        f"\u00a0{PING}",
        f"{PING}\f",
        f"{PING}\u2028",
    ),
    bad_json(ENCODING, "a byte order mark before the object", f"\ufeff{PING}"),
    bad_json(
        ENCODING,
        "UTF-16 without a mark, which is UTF-8 with NULs",
        PING.encode("utf-16-le").decode(),
        PING.encode("utf-16-be").decode(),
    ),
    bad_json(ENCODING, "MessagePack that happens to be UTF-8", "\x01", "\x00", "\x7f"),
    bad_json(
        ENCODING,
        "a control character in a string, an unknown escape",
        _nonce(f'"{CANARY}\n"', is_event=False),
        _nonce(f'"{CANARY}\0"', is_event=False),
        _nonce(f'"{CANARY}\\x41"', is_event=False),
        _nonce(f'"{CANARY}\\u00g1"', is_event=False),
    ),
    bad_json(
        ENCODING,
        "a lone surrogate",
        *(
            _nonce(f'"{CANARY}{escapes}"', is_event=False)
            for escapes in (r"\ud800", r"\udc00", r"\udc00\ud800", r"\ud800\u0041", r"\uDBFFx")
        ),
    ),
    bad_json(
        ENCODING,
        "a surrogate pair, an escaped NUL: strings, but no identifiers",
        _nonce(rf'"{CANARY}\ud83d\ude00"'),
        _nonce(rf'"{CANARY}\u0000"'),
    ),
    bad_json(
        ENCODING,
        "100,000 arrays or 50,000 objects deep",
        "[" * 100_000,
        "[" * 100_000 + "]" * 100_000,
        '{"x":' * 50_000,
        '{"x":' * 50_000 + "1" + "}" * 50_000,
    ),
    bad_json(
        ENCODING,
        "an unknown field 100,000 arrays deep",
        '{"type":"ksmpv3.ping","x":' + "[" * 100_000 + "]" * 100_000 + "}",
    ),
    bad_json(
        ENCODING,
        "as many unknown fields as fit",
        Bad(f'{{{_MANY_FIELDS},"type":"ksmpv3.ping"}}', ABOUT_PING),
    ),
    bad_json(
        ENCODING,
        "as many fields as fit, and no type",
        f"{{{_MANY_FIELDS}}}",
        code="unknown_event",
    ),
    bad_json(
        ENCODING,
        "`1e3`, `1E400`, `1.0`, `0.5e1`, `-0.0`",
        *(_created(literal) for literal in ("1e3", "1E400", "1.0", "0.5e1", "-0.0")),
    ),
    bad_json(
        ENCODING,
        "`NaN`, `Infinity`, `01`, `+1`, `0x1`, `1.`, `.5`, `1_000`",
        *(
            _created(literal, is_event=False)
            for literal in (
                *("NaN", "Infinity", "-Infinity", "01", "+1", "0x1", "1.", ".5", "1_000", "-"),
            )
        ),
    ),
    bad_json(
        ENCODING,
        "2⁶⁴, 20 nines, 5,000 digits, 300,000 digits",
        *(_created(digits) for digits in (str(2**64), "9" * 20, "9" * 5_000, "9" * 300_000)),
    ),
    bad_json(
        ENCODING,
        "base64 that is empty, without padding, padded too much",
        *map(_sealed, ("", "c2VhbGVkMQ", "c2VhbGVkMQ=", "c2VhbGVk====", "=", "====", "Y===")),
    ),
    bad_json(
        ENCODING,
        "base64 of the url-safe alphabet, or with other characters",
        *map(_sealed, ("-_-_", "+/-_", "c2Vhé===", "c2Vh*GVk", "c2Vh\0GVk", "c2Vh%47Vk")),
    ),
    bad_json(
        ENCODING,
        "base64 with white space, or text behind its padding",
        *map(_sealed, ("c2Vh\nbGVk", "c2Vh\r\nbGVk", "c2Vh bGVk", " c2Vh", "c2Vh\n", "YQ==YQ==")),
    ),
    bad_json(
        ENCODING,
        "a number, a list, a map for a ciphertext",
        *map(_sealed, (5, [1, 2], {"bytes": CANARY}, True)),
    ),
]


# ── what is good, though unusual ─────────────────────────────────────────────────────────────


async def _assert_pongs(connection: Connection, nonce: str, *texts: str) -> None:
    for text in texts:
        await connection.tell_raw(text)
        event = await connection.event()
        assert (event["type"], event.get("nonce")) == ("ksmpv3.pong", nonce), (event, text)


async def _written_freely(stage: Stage) -> None:
    last = stage.fresh("last")
    escaped = "".join(f"\\u{ord(letter):04x}" for letter in last)
    async with stage.connect(JSON) as connection:
        await _assert_pongs(
            connection,
            last,
            f' {{"nonce" : "{last}",\r\n\t"type" : "ksmpv3.ping"}}\n',
            f'{{"\\u0074ype":"ksmpv3\\u002eping","nonce":"{escaped}"}}',
        )
        await connection.still_works()


async def _repeated_keys(stage: Stage) -> None:
    last = stage.fresh("last")
    async with stage.connect(JSON) as connection:
        await _assert_pongs(
            connection,
            last,
            f'{{"type":"ksmpv3.ping","nonce":"{CANARY}","nonce":"{last}"}}',
            f'{{"type":"ksmpv3.ping","nonce":5,"nonce":"{last}"}}',
            f'{{"type":"ksmpv3.nope","nonce":"{last}","type":"ksmpv3.ping"}}',
            f'{{"type":5,"nonce":"{last}","type":"ksmpv3.ping"}}',
            f'{{{_MANY_TYPES}"nonce":"{last}","type":"ksmpv3.ping"}}',
        )
        envelope = connection.envelope()
        good = json.dumps(_with_text(envelope))
        for twice in (
            f'{{"type":"ksmpv3.send","envelope":5,"envelope":{good}}}',
            f'{{"type":"ksmpv3.send","envelope":{{"conversationId":"{CANARY}",{good[1:]}}}',
        ):
            await connection.tell_raw(twice)
            await connection.ack_of(envelope)
        await connection.tell_raw('{"type":"ksmpv3.ping","type":"ksmpv3.nope"}')
        await connection.error("unknown_event")
        await connection.tell_raw(f'{{"type":"ksmpv3.ping","nonce":"{last}","nonce":5}}')
        await connection.error("malformed", ABOUT_PING)
        await connection.still_works()


async def _minus_nought(stage: Stage) -> None:
    async with stage.connect(JSON) as connection:
        envelope = connection.envelope(clientCreatedAtMs=_PLACE)
        text = json.dumps({"type": "ksmpv3.send", "envelope": _with_text(envelope)})
        await connection.tell_raw(text.replace(str(_PLACE), "-0"))
        ack = await connection.ack_of(envelope)
        await connection.tell(send(envelope | {"clientCreatedAtMs": 0}))
        assert await connection.event() == ack
        await connection.still_works()


async def _stray_bits(stage: Stage) -> None:
    user = stage.user
    async with stage.connect(JSON) as connection:
        envelope = connection.envelope(user)
        stray = {"type": "ksmpv3.send", "envelope": envelope | {"ciphertext": "YR=="}}
        await connection.tell_raw(json.dumps(stray))
        ack = await connection.ack_of(envelope)
        plain = {"type": "ksmpv3.send", "envelope": envelope | {"ciphertext": "YQ=="}}
        await connection.tell_raw(json.dumps(plain))
        assert await connection.event() == ack
        head = connection.connected["headGlobalInboxSeq"]
        if not connection.is_resumed:
            await connection.tell(resume(head))
            assert (await connection.event())["type"] == "ksmpv3.resume.complete"
        while (delivered := await connection.inbox_frame())["envelope"]["recipientUserId"] != user:
            pass
        assert delivered["envelope"]["ciphertext"] == b"a"
        await connection.still_works()


async def _utf_16(stage: Stage) -> None:
    async with stage.connect(JSON) as connection:
        await connection.send(frame(TEXT, PING.encode("utf-16")))
        await connection.closes(1007)


async def _packed_as_text(stage: Stage) -> None:
    async with stage.connect(JSON) as connection:
        await connection.send(frame(TEXT, b"\x81\xa4type\xabksmpv3.ping"))
        await connection.closes(1007)


async def _packed(stage: Stage) -> None:
    async with stage.connect(JSON) as connection:
        await connection.tell_raw(JSON.encode(ping(CANARY)).encode())  # type: ignore[union-attr]
        await connection.closes(1003)


_ENDS: Final = "How a connection ends"

CASES: Final[list[Case]] = [
    *BAD,
    Case(ENCODING, "white space, escapes, another order (JSON)", EVENTS, "taken", _written_freely),
    Case(
        ENCODING,
        "a repeated key, `type` and `envelope` too (JSON)",
        EVENTS,
        "the last one counts",
        _repeated_keys,
    ),
    Case(ENCODING, "`-0` for an integer (JSON)", EVENTS, "taken as 0", _minus_nought),
    Case(
        ENCODING,
        "`YR==`: stray bits in the last character of a base64 (JSON)",
        EVENTS,
        "taken as `YQ==`; of the same key the same acknowledgement",
        _stray_bits,
    ),
    Case(ENCODING, "UTF-16 with a mark (JSON)", _ENDS, closed(1007), _utf_16),
    Case(ENCODING, "MessagePack in a text message (JSON)", _ENDS, closed(1007), _packed_as_text),
    Case(ENCODING, "JSON in a binary message (JSON)", _ENDS, closed(1003), _packed),
]
