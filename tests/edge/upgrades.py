"""Rows: sound HTTP that asks for something else than this relay's WebSocket."""

from __future__ import annotations

import base64
from typing import Final

from tests.edge.answers import refused
from tests.edge.case import Case
from tests.edge.relays import CANARY
from tests.edge.requests import (
    SWITCHED,
    TARGET,
    accept,
    case,
    changed,
    gets_refused,
    refuse,
    refuse_replaced,
    switched,
)
from tests.edge.stage import Stage

KEY: Final = b"AAECAwQFBgcICQoLDA0ODw=="
"""The key of a good handshake."""

KEY_HEADER: Final = b"Sec-WebSocket-Key"
VERSION: Final = b"Sec-WebSocket-Version"
PROTOCOL: Final = b"Sec-WebSocket-Protocol"
PAGES: Final = "Web pages"
SUBPROTOCOLS: Final = "The subprotocol"

TARGETS: Final = [
    *(
        refuse(f"the target {target.decode()}", "not_found", target=target)
        for target in (
            b"/",
            b"/ksmp/v3/",
            b"/ksmp/v2",
            b"//ksmp/v3",
            b"/KSMP/v3",
            b"/ksmp/%76%33",
            b"/ksmp/../ksmp/v3",
            b"/../../etc/passwd",
            b"ksmp/v3",
            b"http://relay.example/ksmp/v3",
        )
    ),
    refuse("an unknown target", "not_found", target=f"/ksmp/v3/{CANARY}".encode()),
    refuse("a target of 8 KB", "not_found", target=b"/" + b"x" * 8_000),
    refuse("a target of 17 KB", "headers_too_large", target=b"/" + b"x" * 17_000),
    refuse("OPTIONS *", "not_found", method=b"OPTIONS", target=b"*"),
    refuse("CONNECT", "not_found", method=b"CONNECT", target=b"relay.example:443"),
    refuse("an empty query", "bad_request", target=TARGET + b"?"),
    refuse("a query", "bad_request", target=f"/ksmp/v3?{CANARY}=1".encode()),
    refuse("a query on another target", "bad_request", target=f"/?{CANARY}".encode()),
    refuse("a fragment in the target", "bad_request", target=f"/ksmp/v3#{CANARY}".encode()),
]


async def _token_in_the_url(stage: Stage) -> None:
    target = TARGET + b"?token=" + stage.token().encode()
    await gets_refused(stage, changed(stage, target=target, has_token=False), "bad_request")


METHODS: Final = [
    refuse(f"the method {method.decode()}", "method_not_allowed", method=method)
    for method in (b"POST", b"PUT", b"DELETE", b"OPTIONS", b"TRACE", b"HEAD", b"get", b"X-ODD")
]

UPGRADES: Final = [
    refuse("a plain GET", "upgrade_required", without=(b"Upgrade", b"Connection")),
    refuse("no Upgrade", "upgrade_required", without=(b"Upgrade",)),
    refuse("no Connection", "upgrade_required", without=(b"Connection",)),
    refuse_replaced("an upgrade to h2c", "upgrade_required", b"Upgrade", b"h2c"),
    refuse_replaced("Connection: keep-alive", "upgrade_required", b"Connection", b"keep-alive"),
    refuse("no version", "upgrade_required", without=(VERSION,)),
    *(
        refuse_replaced(f"version {value.decode()}", "upgrade_required", VERSION, value)
        for value in (b"8", b"12", b"14", b"013", b"13, 8", b"thirteen")
    ),
    refuse("two version headers", "bad_request", extra=[(VERSION, b"13")]),
    accept(
        "an upgrade offered in a list, in capitals",
        without=(b"Connection", b"Upgrade"),
        extra=[(b"Connection", b"keep-alive, UPGRADE"), (b"Upgrade", b"h2c, WebSocket")],
    ),
    accept(
        "extensions, known and unknown",
        extra=[(b"Sec-WebSocket-Extensions", b"permessage-deflate; x=1, x-unknown")],
    ),
]

KEYS: Final = [
    refuse_replaced(f"{name} key", "bad_request", KEY_HEADER, *values)
    for name, values in (
        ("no", ()),
        ("an empty", (b"",)),
        ("a 15-byte", (base64.b64encode(bytes(15)),)),
        ("a 17-byte", (base64.b64encode(bytes(17)),)),
        ("an unpadded", (KEY.rstrip(b"="),)),
        ("a url-safe base64", (base64.urlsafe_b64encode(b"\xff" * 16),)),
        ("a not base64", (b"!!!!!!!!!!!!!!!!!!!!!!==",)),
        ("a double", (KEY, KEY)),
    )
]

ORIGINS: Final = [
    *(
        refuse(
            f"Origin: {origin.decode().replace(CANARY, 'elsewhere')}",
            "forbidden_origin",
            extra=[(b"Origin", origin)],
            clause=PAGES,
        )
        for origin in (
            b"null",
            f"https://{CANARY}.example".encode(),
            b"http://127.0.0.1",
            b"http://127.0.0.1:1",
            b"http://127.0.0.1:99999",
            b"http://127.0.0.1.example",
            b"file://",
            b"ksmp/v3",
        )
    ),
    refuse("an empty Origin", "forbidden_origin", extra=[(b"Origin", b"")], clause=PAGES),
]


def _own_origin(name: str, pattern: str) -> Case:
    """An origin made out of the relay's own host: refused all the same."""

    async def act(stage: Stage) -> None:
        origin = pattern.format(stage.host.decode()).encode()
        request = changed(stage, extra=[(b"Origin", origin)])
        await gets_refused(stage, request, "forbidden_origin")

    return case(name, refused("forbidden_origin"), act, PAGES)


async def _same_origin(stage: Stage) -> None:
    async with stage.line() as line:
        await line.send(changed(stage, extra=[(b"Origin", b"http://" + stage.host)]))
        connection = await switched(stage, line)
        await connection.still_works()


OWN_ORIGINS: Final = [
    _own_origin("the relay's own Origin with a path", "http://{}/"),
    _own_origin("the relay's own Origin with a query", "http://{}?a"),
    _own_origin("the relay's own Origin with a user", "http://me@{}"),
    _own_origin("the relay's own Origin under another scheme", "ws://{}"),
    case("the relay's own Origin", SWITCHED, _same_origin, PAGES),
]

OFFERS: Final = [
    *(
        refuse(
            f"{name} as the subprotocol",
            "bad_request",
            without=(PROTOCOL,),
            extra=[(PROTOCOL, value)],
            clause=SUBPROTOCOLS,
        )
        for name, value in (
            ("an unknown name", CANARY.encode()),
            ("a known name in capitals", b"KSMPV3.JSON"),
            ("nothing", b""),
            ("a lone comma", b","),
            ("a known name and a version", b"ksmpv3.json/1"),
        )
    ),
    refuse(
        "a bearer item alone",
        "bad_request",
        has_token=False,
        without=(PROTOCOL,),
        extra=[(PROTOCOL, f"ksmpv3.bearer.{CANARY}".encode())],
        clause="The token",
    ),
    accept(
        "unknown names around a known one",
        without=(PROTOCOL,),
        extra=[(PROTOCOL, f"chat, ksmpv3.json, {CANARY}".encode())],
        clause=SUBPROTOCOLS,
    ),
]

CASES: Final[list[Case]] = [
    *TARGETS,
    case("the token in the URL", refused("bad_request"), _token_in_the_url),
    *METHODS,
    *UPGRADES,
    *KEYS,
    *ORIGINS,
    *OWN_ORIGINS,
    *OFFERS,
]
