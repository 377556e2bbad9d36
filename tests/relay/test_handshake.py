"""Each handshake and its exact answer (protocol section 2), without a socket."""

from __future__ import annotations

import base64
import json
from collections.abc import Collection

import pytest

from ksmp.codec import JSON, MSGPACK
from ksmp.errors import REGISTRY
from relay.transport.handshake import Judge, Upgrade, acceptance
from relay.transport.http import (
    MAX_HEAD_BYTES,
    MAX_HEADERS,
    HandshakeRefusedError,
    RequestReader,
    refusal,
)

KEY = base64.b64encode(b"sixteen bytes...").decode()
HEADERS = {
    "Host": "relay.example:8765",
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Version": "13",
    "Authorization": "Bearer a.b.c",
}


def request(
    line: str = "GET /ksmp/v3 HTTP/1.1",
    *more: tuple[str, str],
    without: Collection[str] = (),
    **changed: str,
) -> bytes:
    """A good request, but for what is changed; `Sec_WebSocket_Key` names `Sec-WebSocket-Key`."""
    headers = {**HEADERS, **{name.replace("_", "-"): value for name, value in changed.items()}}
    lines = [f"{name}: {value}" for name, value in headers.items() if name not in without]
    lines += [f"{name}: {value}" for name, value in more]
    return "\r\n".join((line, *lines, "", "")).encode("latin-1")


def judged(
    raw: bytes, *, origins: frozenset[str] = frozenset(), is_secure: bool = False, step: int = 0
) -> Upgrade:
    """The upgrade in `raw`, given whole or in pieces of `step` bytes."""
    reader = RequestReader()
    for start in range(0, len(raw), step or len(raw)):
        read = reader.receive(raw[start : start + (step or len(raw))])
        if read is not None:
            return Judge(allowed_origins=origins, is_secure=is_secure).judge(read)
    raise AssertionError("the request is not complete")


def offering(*items: str, **changed: str) -> bytes:
    return request("GET /ksmp/v3 HTTP/1.1", ("Sec-WebSocket-Protocol", ", ".join(items)), **changed)


# ── accepted ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("step", [0, 1, 7])
def test_a_good_request_is_accepted_however_it_is_cut(step: int) -> None:
    assert judged(request(), step=step) == Upgrade(KEY, JSON, None, "a.b.c")


def test_the_answer_is_a_switch_of_protocols_without_extensions() -> None:
    raw = request(
        "GET /ksmp/v3 HTTP/1.1",
        ("Sec-WebSocket-Protocol", "ksmpv3.msgpack"),
        ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits"),
        ("Sec-WebSocket-Extensions", "x"),
        Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ==",
    )

    assert acceptance(judged(raw)) == (
        b"HTTP/1.1 101 Switching Protocols\r\n"
        b"Upgrade: websocket\r\n"
        b"Connection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"  # RFC 6455 section 1.3
        b"Sec-WebSocket-Protocol: ksmpv3.msgpack\r\n"
        b"\r\n"
    )


def test_nothing_is_echoed_where_no_subprotocol_was_offered() -> None:
    assert b"Protocol" not in acceptance(judged(request())).split(b"\r\n", 1)[1]


@pytest.mark.parametrize(
    ("items", "codec"),
    [
        (["ksmpv3.json"], JSON),
        (["ksmpv3.msgpack"], MSGPACK),
        (["ksmpv3.msgpack", "ksmpv3.json"], MSGPACK),
        (["ksmpv3.json", "ksmpv3.msgpack"], JSON),
        (["chat", "ksmpv3.msgpack"], MSGPACK),
        (["", "ksmpv3.json", ""], JSON),
    ],
)
def test_the_first_offered_subprotocol_that_is_known_is_chosen(
    items: list[str], codec: object
) -> None:
    upgrade = judged(offering(*items))

    assert upgrade.codec is codec
    assert upgrade.subprotocol == upgrade.codec.subprotocol


def test_offers_in_several_headers_are_one_list() -> None:
    raw = request(
        "GET /ksmp/v3 HTTP/1.1",
        ("Sec-WebSocket-Protocol", "chat"),
        ("sec-websocket-protocol", "ksmpv3.msgpack"),
    )

    assert judged(raw).codec is MSGPACK


VARIATIONS = {
    "names and tokens in any case": request(
        Connection="keep-alive, UPGRADE", Upgrade="WebSocket", Authorization="bearer   a.b.c"
    ),
    "content-length 0": request("GET /ksmp/v3 HTTP/1.1", ("Content-Length", "0")),
    "the most headers": request(
        "GET /ksmp/v3 HTTP/1.1", *[("X", "y")] * (MAX_HEADERS - len(HEADERS))
    ),
    "the largest head": request(X="y" * (MAX_HEAD_BYTES - len(request(X="")))),
    "an IPv6 host": request(Host="[::1]:8765"),
}


@pytest.mark.parametrize("raw", VARIATIONS.values(), ids=VARIATIONS)
def test_what_clients_may_vary_is_accepted(raw: bytes) -> None:
    assert judged(raw).token == "a.b.c"


def test_bytes_behind_the_request_are_kept_for_the_websocket() -> None:
    reader = RequestReader()

    assert reader.receive(request() + b"\x82\x80four") is not None
    assert reader.rest == b"\x82\x80four"


# ── refused ──────────────────────────────────────────────────────────────────────────────────

GOOD = "GET /ksmp/v3 HTTP/1.1"
REFUSED = {
    # 431
    "a head one byte too large": (
        request(X="y" * (MAX_HEAD_BYTES - len(request(X="")) + 1)),
        "headers_too_large",
    ),
    "a 40 KB header": (request(X="y" * 40_000), "headers_too_large"),
    "an 8 KB header twice": (request(X="y" * 8_192, Y="y" * 8_192), "headers_too_large"),
    "an endless head": (b"GET /ksmp/v3 HTTP/1.1\r\nX: " + b"y" * 20_000, "headers_too_large"),
    "101 headers": (
        request(GOOD, *[("X", "y")] * (MAX_HEADERS - len(HEADERS) + 1)),
        "headers_too_large",
    ),
    "900 headers": (request(GOOD, *[("X", "y")] * 900), "headers_too_large"),
    "101 headers, and no Host": (
        request(without=("Host",)).replace(b"\r\n\r\n", b"\r\nX: y" * 101 + b"\r\n\r\n"),
        "headers_too_large",
    ),
    "101 headers that end in bare line feeds": (
        request(without=("Host",)).replace(b"\r\n\r\n", b"\nX: y" * 101 + b"\n\n"),
        "headers_too_large",
    ),
    # 400: request line
    "HTTP/1.0": (request("GET /ksmp/v3 HTTP/1.0"), "bad_request"),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "bad_request"),
    "no version": (b"GET /ksmp/v3\r\n\r\n", "bad_request"),
    "TLS on a plain port": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "bad_request"),
    "no words": (b"\r\n\r\n", "bad_request"),
    "non-ASCII target": (request("GET /ksmp/v3/\xe9 HTTP/1.1"), "bad_request"),
    "a query": (request("GET /ksmp/v3?token=a.b.c HTTP/1.1"), "bad_request"),
    "an empty query": (request("GET /ksmp/v3? HTTP/1.1"), "bad_request"),
    "a query elsewhere": (request("GET /other?x=1 HTTP/1.1"), "bad_request"),
    "a fragment": (request("GET /ksmp/v3#x HTTP/1.1"), "bad_request"),
    # 400: headers
    "no Host": (request(without=("Host",)), "bad_request"),
    "two Hosts": (request(GOOD, ("Host", "relay.example:8765")), "bad_request"),
    "an empty Host": (request(Host=""), "bad_request"),
    "a Host with a path": (request(Host="relay.example/x"), "bad_request"),
    "two Origins": (request(GOOD, ("Origin", "a"), ("Origin", "b")), "bad_request"),
    "two keys": (request(GOOD, ("Sec-WebSocket-Key", KEY)), "bad_request"),
    "two versions": (request(GOOD, ("Sec-WebSocket-Version", "13")), "bad_request"),
    "no key": (request(without=("Sec-WebSocket-Key",)), "bad_request"),
    "an empty key": (request(Sec_WebSocket_Key=""), "bad_request"),
    "a key of 15 bytes": (
        request(Sec_WebSocket_Key=base64.b64encode(bytes(15)).decode()),
        "bad_request",
    ),
    "a key that is not base64": (request(Sec_WebSocket_Key="!" * 24), "bad_request"),
    "a key without padding": (request(Sec_WebSocket_Key=KEY[:-2]), "bad_request"),
    "a bad key and no upgrade": (
        request(Sec_WebSocket_Key="x", without=("Upgrade",)),
        "bad_request",
    ),
    "a bad key elsewhere": (request("GET /x HTTP/1.1", Sec_WebSocket_Key="x"), "bad_request"),
    "a header without colon": (
        request().replace(b"Upgrade: websocket", b"Upgrade websocket"),
        "bad_request",
    ),
    "a space before the colon": (request().replace(b"Upgrade:", b"Upgrade :"), "bad_request"),
    "a NUL in a header": (request(X="a\x00b"), "bad_request"),
    "a control character in a header": (request(X="a\x01b"), "bad_request"),
    **{
        f"a non-ASCII byte in {name}": (
            request(**{name.replace("-", "_"): "\xff" + HEADERS.get(name, "")}),
            "bad_request",
        )
        for name in (
            "Host",
            "Connection",
            "Upgrade",
            "Origin",
            "Authorization",
            "Sec-WebSocket-Key",
            "Sec-WebSocket-Version",
            "Sec-WebSocket-Protocol",
            "Sec-WebSocket-Extensions",
        )
    },
    "a body": (request(GOOD, ("Content-Length", "1")) + b"x", "bad_request"),
    "a body of unknown length": (request(GOOD, ("Transfer-Encoding", "chunked")), "bad_request"),
    "a body in an unknown coding": (request(GOOD, ("Transfer-Encoding", "gzip")), "bad_request"),
    "a negative length": (request(GOOD, ("Content-Length", "-1")), "bad_request"),
    "two lengths": (
        request(GOOD, ("Content-Length", "0"), ("Content-Length", "5")),
        "bad_request",
    ),
    # 404
    "another path": (request("GET /other HTTP/1.1"), "not_found"),
    "a longer path": (request("GET /ksmp/v3/ HTTP/1.1"), "not_found"),
    "another case": (request("GET /KSMP/v3 HTTP/1.1"), "not_found"),
    "an escaped path": (request("GET /ksmp/%763 HTTP/1.1"), "not_found"),
    "an 8 KB path": (request(f"GET /{'x' * 8_192} HTTP/1.1"), "not_found"),
    "the absolute form": (
        request("GET http://relay.example:8765/ksmp/v3 HTTP/1.1"),
        "not_found",
    ),
    "POST elsewhere": (request("POST /other HTTP/1.1"), "not_found"),
    "OPTIONS *": (request("OPTIONS * HTTP/1.1"), "not_found"),
    # 405
    "POST": (request("POST /ksmp/v3 HTTP/1.1"), "method_not_allowed"),
    "HEAD": (request("HEAD /ksmp/v3 HTTP/1.1"), "method_not_allowed"),
    "get": (request("get /ksmp/v3 HTTP/1.1"), "method_not_allowed"),
    "POST without upgrade": (
        request("POST /ksmp/v3 HTTP/1.1", without=("Upgrade",)),
        "method_not_allowed",
    ),
    # 426
    "plain GET": (b"GET /ksmp/v3 HTTP/1.1\r\nHost: x\r\n\r\n", "upgrade_required"),
    "no Upgrade": (request(without=("Upgrade",)), "upgrade_required"),
    "no Connection": (request(without=("Connection",)), "upgrade_required"),
    "upgrade to something else": (request(Upgrade="h2c"), "upgrade_required"),
    "Connection without upgrade": (request(Connection="keep-alive"), "upgrade_required"),
    "version 8": (request(Sec_WebSocket_Version="8"), "upgrade_required"),
    "version 13, 8": (request(Sec_WebSocket_Version="13, 8"), "upgrade_required"),
    "no version of WebSocket": (request(without=("Sec-WebSocket-Version",)), "upgrade_required"),
    "version 8 from abroad": (
        request(Sec_WebSocket_Version="8", Origin="https://evil.example"),
        "upgrade_required",
    ),
    # 403
    "a foreign origin": (request(Origin="https://evil.example"), "forbidden_origin"),
    "a foreign origin offering nothing known": (
        offering("chat", Origin="https://evil.example"),
        "forbidden_origin",
    ),
    # 400 subprotocol
    "an unknown subprotocol": (offering("chat"), "bad_request"),
    "a subprotocol in another case": (offering("KSMPv3.JSON"), "bad_request"),
    "no subprotocol in the header": (offering(""), "bad_request"),
    "the bearer item alone": (
        offering("ksmpv3.bearer.a.b.c", Authorization=""),
        "bad_request",
    ),
    "an unknown subprotocol and two credentials": (
        offering("chat", "ksmpv3.bearer.a.b.c"),
        "bad_request",
    ),
}


@pytest.mark.parametrize(("raw", "code"), REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("step", [0, 11])
def test_a_bad_request_gets_the_first_code_that_applies(raw: bytes, code: str, step: int) -> None:
    with pytest.raises(HandshakeRefusedError) as refused:
        judged(raw, step=step)

    assert refused.value.code == code


def test_a_request_that_breaks_off_is_a_bad_one() -> None:
    reader = RequestReader()

    assert reader.receive(request()[:-10]) is None
    with pytest.raises(HandshakeRefusedError, match="bad_request"):
        reader.receive(b"")


LARGE_AND_WRONG = {
    # a head that is too large, and wrong in another way that its first bytes do not show
    "by its bytes": (
        request(X="y" * MAX_HEAD_BYTES).replace(b"Upgrade: websocket", b"Upgrade websocket"),
        "headers_too_large",
    ),
    "by its headers": (
        request(GOOD, *[("X", "y")] * 900, ("X", "\x00")),
        "headers_too_large",
    ),
    # what is refused at its first byte, whatever follows
    "after an empty line": (b"\r\n" + request(GOOD, *[("X", "y")] * 900), "bad_request"),
    "after a control character": (b"\x16" + request(X="y" * MAX_HEAD_BYTES), "bad_request"),
}


@pytest.mark.parametrize(("raw", "code"), LARGE_AND_WRONG.values(), ids=LARGE_AND_WRONG)
@pytest.mark.parametrize("step", [0, 1, 1_000, 16_000])
def test_a_head_too_large_and_wrong_gets_the_same_answer_however_it_is_cut(
    raw: bytes, code: str, step: int
) -> None:
    with pytest.raises(HandshakeRefusedError, match=f"^{code}$"):
        judged(raw, step=step)


def test_nothing_at_all_is_no_request() -> None:
    assert RequestReader().receive(b"") is None


# ── origins ──────────────────────────────────────────────────────────────────────────────────

LISTED = frozenset({"https://App.example", "https://other.example:8443"})


@pytest.mark.parametrize(
    ("origin", "host", "origins", "is_secure", "allowed"),
    [
        ("http://relay.example:8765", "relay.example:8765", frozenset(), False, True),
        ("https://relay.example:8765", "relay.example:8765", frozenset(), False, True),
        ("http://relay.example", "relay.example", frozenset(), False, True),
        ("http://relay.example", "relay.example:80", frozenset(), False, True),
        ("http://relay.example:80", "relay.example", frozenset(), False, True),
        ("https://relay.example", "relay.example:443", frozenset(), True, True),
        ("https://relay.example", "relay.example", frozenset(), True, True),
        ("https://RELAY.example", "relay.EXAMPLE", frozenset(), True, True),
        ("http://[::1]:8765", "[::1]:8765", frozenset(), False, True),
        ("http://relay.example", "relay.example", frozenset(), True, False),
        ("http://relay.example", "relay.example:443", frozenset(), False, False),
        ("https://relay.example", "relay.example:8765", frozenset(), True, False),
        ("http://relay.example:8765", "relay.example", frozenset(), False, False),
        ("http://relay.example.evil", "relay.example", frozenset(), False, False),
        ("http://evil.example:8765", "relay.example:8765", frozenset(), False, False),
        ("http://relay.example:8765/", "relay.example:8765", frozenset(), False, False),
        ("http://x@relay.example:8765", "relay.example:8765", frozenset(), False, False),
        ("relay.example:8765", "relay.example:8765", frozenset(), False, False),
        ("http://relay.example:port", "relay.example:port", frozenset(), False, False),
        ("null", "relay.example:8765", frozenset(), False, False),
        ("", "relay.example:8765", frozenset(), False, False),
        ("file://", "relay.example:8765", frozenset(), False, False),
        ("https://app.example", "relay.example", LISTED, True, True),
        ("https://other.example:8443", "relay.example", LISTED, True, True),
        ("https://other.example", "relay.example", LISTED, True, False),
        ("https://relay.example", "relay.example", LISTED, True, False),
        ("null", "relay.example", LISTED, True, False),
    ],
)
def test_an_origin_must_be_listed_or_else_be_the_one_that_is_asked(
    origin: str, host: str, origins: frozenset[str], is_secure: bool, allowed: bool
) -> None:
    raw = request(Origin=origin, Host=host)

    if allowed:
        assert judged(raw, origins=origins, is_secure=is_secure).token == "a.b.c"
    else:
        with pytest.raises(HandshakeRefusedError, match="forbidden_origin"):
            judged(raw, origins=origins, is_secure=is_secure)


# ── credentials ──────────────────────────────────────────────────────────────────────────────

BEARER = "ksmpv3.bearer.x.y.z"
CREDENTIALS = {
    "in the header": (request(), "a.b.c"),
    "as an offer": (offering("ksmpv3.json", BEARER, Authorization="").replace(
        b"Authorization: \r\n", b""), "x.y.z"),
    "as an offer before the codec": (offering(BEARER, "ksmpv3.json").replace(
        b"Authorization: Bearer a.b.c\r\n", b""), "x.y.z"),
    "none": (request(without=("Authorization",)), None),
    "two headers": (request(GOOD, ("Authorization", "Bearer a.b.c")), None),
    "two offers": (offering("ksmpv3.json", BEARER, BEARER).replace(
        b"Authorization: Bearer a.b.c\r\n", b""), None),
    "header and offer": (offering("ksmpv3.json", BEARER), None),
    "basic": (request(Authorization="Basic YTpi"), ""),
    "scheme alone": (request(Authorization="Bearer"), ""),
    "empty offer": (offering("ksmpv3.json", "ksmpv3.bearer.").replace(
        b"Authorization: Bearer a.b.c\r\n", b""), ""),
}  # fmt: skip


@pytest.mark.parametrize(("raw", "token"), CREDENTIALS.values(), ids=CREDENTIALS)
def test_exactly_one_credential_counts_and_it_is_never_echoed(
    raw: bytes, token: str | None
) -> None:
    upgrade = judged(raw)

    assert upgrade.token == token
    assert b"bearer" not in acceptance(upgrade).lower()


# ── the answers ──────────────────────────────────────────────────────────────────────────────

ANSWERS = {
    "bad_request": (b"400 Bad Request", {}),
    "unauthenticated": (b"401 Unauthorized", {"WWW-Authenticate": "Bearer"}),
    "forbidden_origin": (b"403 Forbidden", {}),
    "not_found": (b"404 Not Found", {}),
    "method_not_allowed": (b"405 Method Not Allowed", {"Allow": "GET"}),
    "handshake_timeout": (b"408 Request Timeout", {}),
    "upgrade_required": (
        b"426 Upgrade Required",
        {"Upgrade": "websocket", "Sec-WebSocket-Version": "13"},
    ),
    "headers_too_large": (b"431 Request Header Fields Too Large", {}),
    "rate_limited": (b"429 Too Many Requests", {"Retry-After": "3"}),
    "overloaded": (b"503 Service Unavailable", {"Retry-After": "3"}),
    "draining": (b"503 Service Unavailable", {"Retry-After": "3"}),
}


@pytest.mark.parametrize(("code", "answer"), ANSWERS.items(), ids=ANSWERS)
def test_a_refusal_is_a_whole_http_answer_with_the_error_as_its_body(
    code: str, answer: tuple[bytes, dict[str, str]]
) -> None:
    status, extra = answer

    head, _, body = refusal(HandshakeRefusedError(code, retry_after_ms=2_001)).partition(
        b"\r\n\r\n"
    )

    status_line, *lines = head.split(b"\r\n")
    assert status_line == b"HTTP/1.1 " + status
    assert dict(line.decode().split(": ", 1) for line in lines) == {
        "Connection": "close",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Cache-Control": "no-store",
        **extra,
    }
    error = json.loads(body)
    assert (error["type"], error["code"]) == ("ksmpv3.error", code)
    assert error["message"] == REGISTRY[code].message
    assert error["action"] == REGISTRY[code].action
    assert error.get("retryAfterMs") == (2_001 if error["retryable"] else None)


def test_every_code_that_has_a_status_has_its_answer_here() -> None:
    assert {code for code, known in REGISTRY.items() if known.http_status} == ANSWERS.keys()
