"""Rows: handshakes with two faults at once. The one that is judged first is answered."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from tests.edge.answers import STATUSES
from tests.edge.case import Case
from tests.edge.relays import CANARY
from tests.edge.requests import TARGET, case, changed, gets_refused
from tests.edge.stage import Stage
from tests.wire.raw import Headers

PROTOCOL: Final = b"Sec-WebSocket-Protocol"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong, such that it can be joined with any later one."""

    name: str
    code: str
    method: bytes = b"GET"
    path: bytes = TARGET
    query: bytes = b""
    without: tuple[bytes, ...] = ()
    extra: Headers = field(default_factory=list)
    has_token: bool = True


LEVELS: Final[list[list[Fault]]] = [
    [
        Fault("a large head", "headers_too_large", extra=[(b"X-Long", b"x" * 40_000)]),
        Fault("900 headers", "headers_too_large", extra=[(b"X-Many", b"x")] * 900),
    ],
    [
        Fault("no Host", "bad_request", without=(b"Host",)),
        Fault("a non-ASCII header", "bad_request", extra=[(b"X-Odd", b"\xe9")]),
        Fault("a body", "bad_request", extra=[(b"Content-Length", b"5")]),
        Fault("a bad key", "bad_request", without=(b"Sec-WebSocket-Key",)),
        Fault("a query", "bad_request", query=b"?" + CANARY.encode()),
    ],
    [Fault("another target", "not_found", path=b"/" + CANARY.encode())],
    [Fault("another method", "method_not_allowed", method=b"POST")],
    [
        Fault("no upgrade", "upgrade_required", without=(b"Upgrade",)),
        Fault("version 8", "upgrade_required", without=(b"Sec-WebSocket-Version",)),
    ],
    [
        Fault(
            "a foreign page",
            "forbidden_origin",
            extra=[(b"Origin", f"https://{CANARY}.example".encode())],
        )
    ],
    [
        Fault(
            "an unknown subprotocol",
            "bad_request",
            without=(PROTOCOL,),
            extra=[(PROTOCOL, CANARY.encode())],
        )
    ],
    [Fault("no token", "unauthenticated", has_token=False)],
]
"""What is judged, in order; faults of one level have the same code."""

KEYLESS: Final = {"a bad key", "no upgrade"}
"""Without an upgrade no key is missing, so these two together are not two faults."""


async def _both(stage: Stage, first: Fault, second: Fault) -> None:
    request = changed(
        stage,
        method=_other(first.method, second.method, b"GET"),
        target=_other(first.path, second.path, TARGET) + (first.query or second.query),
        without=(*first.without, *second.without),
        extra=[*first.extra, *second.extra],
        has_token=first.has_token and second.has_token,
    )
    await gets_refused(stage, request, first.code)


def _other(one: bytes, two: bytes, good: bytes) -> bytes:
    return one if one != good else two


def _before_all_later(level: int, first: Fault) -> Case:
    later = [fault for faults in LEVELS[level + 1 :] for fault in faults]

    async def act(stage: Stage) -> None:
        for second in later:
            if {first.name, second.name} != KEYLESS:
                await _both(stage, first, second)

    answer = f"{STATUSES[first.code]} `{first.code}`, whatever else is wrong"
    return case(f"{first.name}, and each fault of a later line", answer, act)


CASES: Final[list[Case]] = [
    _before_all_later(level, first) for level, faults in enumerate(LEVELS[:-1]) for first in faults
]
