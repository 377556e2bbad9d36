"""Encoding: what is wrong, or only unusual, in either subprotocol."""

from __future__ import annotations

from typing import Final

from tests.edge.case import Case
from tests.edge.json_encoding import CASES as JSON_CASES
from tests.edge.msgpack_encoding import CASES as MSGPACK_CASES
from tests.edge.refusing import BOTH, EVENTS, bad_events, canary_envelope, without
from tests.edge.relays import CANARY
from tests.edge.stage import Stage
from tests.wire.codecs import Event
from tests.wire.messages import ack_read, ping, resume, send

ENCODING: Final = "Encoding"

ACK: Final = ack_read(f"{CANARY}-talk", f"{CANARY}-peer", 1)
RESUME: Final = resume(0, epoch=f"{CANARY}-epoch")
PING: Final = ping(f"{CANARY}-nonce")
AUTH: Final[Event] = {"type": "ksmpv3.auth", "token": f"{CANARY}.token.x"}
SEND: Final = send(canary_envelope())
ENVELOPE_FIELDS: Final = tuple(canary_envelope())
EVERY_EVENT: Final = (SEND, ACK, RESUME, PING, AUTH)

UNKNOWN_TYPES: Final = (
    f"ksmpv3.{CANARY}",
    "",
    "KSMPV3.PING",
    "ksmpv3.ping ",
    "ksmpv3.ping\0",
    "ping",
    "ksmpv3.connected",
    "ksmpv3.inbox.frame",
    "ksmpv3.error",
)
NO_BOOLEANS: Final[tuple[object, ...]] = (1, 0, "true", "", [])
WRONG_TYPES: Final[tuple[object, ...]] = (5, None, True, 1.5, ["ksmpv3.ping"], {"type": CANARY})


def _sends(**fields: object) -> list[Event]:
    return [send(canary_envelope(**fields))]


def _each(field: str, values: tuple[object, ...]) -> list[Event]:
    """Sends that differ in what stands in one field of the envelope."""
    return [send(canary_envelope(**{field: value})) for value in values]


def _integers(*values: object) -> list[Event]:
    """These values in each place that takes an integer."""
    return [
        event
        for value in values
        for event in (
            send(canary_envelope(clientCreatedAtMs=value)),
            ACK | {"serverSeq": value},
            RESUME | {"lastGlobalInboxSeq": value},
        )
    ]


def _nested(depth: int) -> object:
    return [_nested(depth - 1)] if depth else CANARY


BAD: Final = [
    bad_events(
        ENCODING,
        "a type that no client sends",
        [{"type": kind, "nonce": CANARY} for kind in UNKNOWN_TYPES],
        "unknown_event",
    ),
    bad_events(
        ENCODING,
        "a type that is a number, nil, a boolean, a list, a map",
        [{"type": kind} for kind in WRONG_TYPES],
        "unknown_event",
    ),
    bad_events(
        ENCODING,
        "no type: an empty object, one with other fields, a bare envelope",
        [{}, {"nonce": CANARY}, canary_envelope()],
        "unknown_event",
    ),
    bad_events(
        ENCODING,
        "an unknown field in each event",
        [event | {f"{CANARY}Extra": CANARY} for event in EVERY_EVENT],
    ),
    bad_events(
        ENCODING,
        "an unknown field in the envelope",
        [*_sends(extra=CANARY), *_sends(Ciphertext=CANARY), *_sends(conversationid=CANARY)],
    ),
    bad_events(
        ENCODING,
        "an id or an envelope in an event that has none",
        [
            PING | {"conversationId": CANARY},
            AUTH | {"messageId": CANARY},
            RESUME | {"envelope": canary_envelope()},
            ACK | {"envelope": canary_envelope()},
            ACK | {"idempotencyKey": CANARY},
            canary_envelope() | {"type": "ksmpv3.send"},
        ],
    ),
    bad_events(
        ENCODING,
        "an unknown field that is nested 9 or 200 deep",
        [
            PING | {"x": _nested(9)},
            PING | {"x": _nested(200)},
            *_sends(x=_nested(9)),
        ],
    ),
    bad_events(
        ENCODING,
        "each field of each event missing",
        [
            *(send(without(canary_envelope(), name)) for name in ENVELOPE_FIELDS),
            {"type": "ksmpv3.send"},
            *(without(ACK, name) for name in ("conversationId", "peerUserId", "serverSeq")),
            without(RESUME, "lastGlobalInboxSeq"),
            without(AUTH, "token"),
        ],
    ),
    bad_events(
        ENCODING,
        "nil for each field but the cursor",
        [
            *(send(canary_envelope(**{name: None})) for name in ENVELOPE_FIELDS),
            {"type": "ksmpv3.send", "envelope": None},
            *(ACK | {name: None} for name in ACK if name != "type"),
            ACK | {"private": None},
            RESUME | {"epoch": None},
            PING | {"nonce": None},
            AUTH | {"token": None},
        ],
    ),
    bad_events(
        ENCODING,
        "a list, a string or a number for the envelope",
        [{"type": "ksmpv3.send", "envelope": value} for value in ([], [CANARY], CANARY, 1, True)],
    ),
    bad_events(
        ENCODING,
        "a number, a boolean, a list or a map for a string",
        [
            *_each("conversationId", (1, True, [CANARY], {CANARY: CANARY})),
            *_each("idempotencyKey", (1.5, [], {})),
            ACK | {"peerUserId": 1},
            PING | {"nonce": [CANARY]},
            AUTH | {"token": 1},
            AUTH | {"token": [CANARY]},
        ],
    ),
    bad_events(
        ENCODING,
        "another protocol, another content type",
        [
            *_each("protocol", ("ksmpv2", "KSMPV3", "", 3)),
            *_each("contentType", ("video", "Text", "", "text ", 1)),
        ],
    ),
    bad_events(
        ENCODING,
        "a string, a list or a map for an integer",
        _integers("1", "", [1], {}),
    ),
    bad_events(ENCODING, "a fraction, even `1.0` and `-0.0`", _integers(1.0, 1.5, -0.0, 1e300)),
    bad_events(ENCODING, "a boolean for an integer", _integers(True, False)),
    bad_events(
        ENCODING,
        "a number or a string for a boolean",
        [ACK | {"private": value} for value in NO_BOOLEANS],
    ),
    bad_events(ENCODING, "a negative integer", _integers(-1, -(2**31), -(2**53), -(2**63))),
    bad_events(ENCODING, "an integer of 2⁵³ or more", _integers(2**53, 2**63, 2**64 - 1)),
]


async def _integers_at_the_bounds(stage: Stage) -> None:
    for codec in BOTH:
        async with stage.connect(codec, resume=False) as connection:
            for number in (0, 2**53 - 1):
                envelope = connection.envelope(clientCreatedAtMs=number)
                await connection.tell(send(envelope))
                await connection.ack_of(envelope)
            # Both are integers: what is said about them is not that they are malformed.
            talk = stage.fresh("talk")
            await connection.tell(ack_read(talk, CANARY, 2**53 - 1), resume(2**53 - 1))
            codes = {(await connection.event())["code"] for _ in range(2)}
            assert codes == {"invalid_seq", "cursor_ahead"}, codes
            await connection.resume(0)
            await connection.still_works()


CASES: Final[list[Case]] = [
    *BAD,
    Case(
        ENCODING,
        "the integers 0 and 2⁵³ − 1",
        EVENTS,
        "taken; judged by what they mean",
        _integers_at_the_bounds,
    ),
    *JSON_CASES,
    *MSGPACK_CASES,
]
