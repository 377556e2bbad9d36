"""Before the upgrade: what is let through, and the exact refusal of everything else (section 2)."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import NamedTuple

import pytest

from tests.wire import raw
from tests.wire.codecs import JSON, MSGPACK, Codec
from tests.wire.connecting import Clients, StartRelay
from tests.wire.messages import fresh

ERROR_FIELDS = ["type", "code", "message", "retryable", "retryAfterMs", "action"]


class Refused(NamedTuple):
    """A handshake, good but for what is named here, and the answer it gets."""

    name: str
    status: int
    code: str
    line: bytes = b"GET /ksmp/v3 HTTP/1.1"
    without: tuple[bytes, ...] = ()
    extra: tuple[tuple[bytes, bytes], ...] = ()
    with_token: bool = True
    behind: bytes = b""


def _replaced(name: bytes, *values: bytes) -> dict[str, object]:
    return {"without": (name,), "extra": tuple((name, value) for value in values)}


def _offering(*values: bytes) -> dict[str, object]:
    return _replaced(b"Sec-WebSocket-Protocol", *values)


def _refused(name: str, status: int, code: str, **changes: object) -> Refused:
    return Refused(name, status, code, **changes)  # type: ignore[arg-type]


NON_ASCII = [
    Refused(f"non-ASCII byte in {name.decode()}", 400, "bad_request", without=(name,), extra=(
        (name, value + b"\xe9"),
    ))
    for name, value in (
        (b"Host", b"127.0.0.1"),
        (b"Connection", b"Upgrade, "),
        (b"Sec-WebSocket-Key", b"AAECAwQFBgcICQoLDA0ODw=="),
        (b"Sec-WebSocket-Version", b"13"),
        (b"Sec-WebSocket-Protocol", b"ksmpv3.json, "),
        (b"Sec-WebSocket-Extensions", b"permessage-deflate"),
    )
]  # fmt: skip

KEYS = [
    _refused(f"{name} key", 400, "bad_request", **_replaced(b"Sec-WebSocket-Key", *values))
    for name, values in (
        ("no", ()),
        ("empty", (b"",)),
        ("short", (base64.b64encode(bytes(15)),)),
        ("long", (base64.b64encode(bytes(17)),)),
        ("not base64", (b"!!!!!!!!!!!!!!!!!!!!!!==",)),
        ("double", (b"AAECAwQFBgcICQoLDA0ODw==", b"AAECAwQFBgcICQoLDA0ODw==")),
    )
]

BAD_REQUESTS = [
    _refused("HTTP/1.0", 400, "bad_request", line=b"GET /ksmp/v3 HTTP/1.0"),
    _refused("garbage", 400, "bad_request", line=b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    _refused("no Host", 400, "bad_request", without=(b"Host",)),
    _refused("two Hosts", 400, "bad_request", extra=((b"Host", b"elsewhere"),)),
    _refused("header without colon", 400, "bad_request", extra=((b"Bad Name", b"x"),)),
    _refused("query", 400, "bad_request", line=b"GET /ksmp/v3?a=1 HTTP/1.1"),
    _refused("token in query", 400, "bad_request", line=b"GET /ksmp/v3?token=e.e.e HTTP/1.1"),
    _refused("body", 400, "bad_request", extra=((b"Content-Length", b"5"),), behind=b"hello"),
    _refused(
        "chunked body",
        400,
        "bad_request",
        extra=((b"Transfer-Encoding", b"chunked"),),
        behind=b"0\r\n\r\n",
    ),
    *NON_ASCII,
    *KEYS,
]

PATHS = [
    Refused(f"path {path.decode()[:20]}", 404, "not_found", line=b"GET %s HTTP/1.1" % path)
    for path in (b"/", b"/ksmp/v3/", b"/ksmp/v2", b"//ksmp/v3", b"/KSMP/v3", b"/" + b"x" * 2000)
]

METHODS = [
    Refused(f"method {name}", 405, "method_not_allowed", line=name.encode() + b" /ksmp/v3 HTTP/1.1")
    for name in ("POST", "PUT", "DELETE", "OPTIONS")
]

UPGRADES = [
    _refused("plain GET", 426, "upgrade_required", without=(b"Upgrade", b"Connection")),
    _refused("no Upgrade", 426, "upgrade_required", without=(b"Upgrade",)),
    _refused("no Connection", 426, "upgrade_required", without=(b"Connection",)),
    _refused("h2c", 426, "upgrade_required", **_replaced(b"Upgrade", b"h2c")),
    _refused("version 8", 426, "upgrade_required", **_replaced(b"Sec-WebSocket-Version", b"8")),
    _refused("no version", 426, "upgrade_required", without=(b"Sec-WebSocket-Version",)),
]

ORIGINS = [
    Refused(f"Origin {origin.decode()}", 403, "forbidden_origin", extra=((b"Origin", origin),))
    for origin in (b"https://elsewhere.example", b"null", b"http://127.0.0.1:1", b"http://127.0.0.1")
]  # fmt: skip

SUBPROTOCOLS = [
    _refused("unknown protocol", 400, "bad_request", **_offering(b"chat")),
    _refused("protocol in capitals", 400, "bad_request", **_offering(b"KSMPV3.JSON")),
    _refused(
        "bearer item alone",
        400,
        "bad_request",
        **_offering(b"ksmpv3.bearer.e.e.e"),
        with_token=False,
    ),
]

SIZES = [
    _refused("40 KB header", 431, "headers_too_large", extra=((b"X-Long", b"x" * 40_000),)),
    _refused("900 headers", 431, "headers_too_large", extra=((b"X-Many", b"x"),) * 900),
]

# Two faults at once: the one judged first is answered.
ORDER = [
    _refused(
        "size before path",
        431,
        "headers_too_large",
        line=b"GET / HTTP/1.1",
        extra=((b"X-Long", b"x" * 40_000),),
    ),
    _refused("query before path", 400, "bad_request", line=b"GET /?a=1 HTTP/1.1"),
    _refused("header before path", 400, "bad_request", line=b"GET / HTTP/1.1", without=(b"Host",)),
    _refused("path before method", 404, "not_found", line=b"POST / HTTP/1.1"),
    _refused(
        "method before upgrade",
        405,
        "method_not_allowed",
        line=b"POST /ksmp/v3 HTTP/1.1",
        without=(b"Upgrade",),
    ),
    _refused(
        "upgrade before origin",
        426,
        "upgrade_required",
        without=(b"Upgrade",),
        extra=((b"Origin", b"https://elsewhere.example"),),
    ),
    _refused(
        "origin before subprotocol",
        403,
        "forbidden_origin",
        without=(b"Sec-WebSocket-Protocol",),
        extra=(
            (b"Origin", b"https://elsewhere.example"),
            (b"Sec-WebSocket-Protocol", b"chat"),
        ),
    ),
    _refused(
        "subprotocol before credentials",
        400,
        "bad_request",
        **_offering(b"chat"),
        with_token=False,
    ),
    _refused("origin before credentials", 403, "forbidden_origin", with_token=False, extra=(
        (b"Origin", b"https://elsewhere.example"),
    )),
]  # fmt: skip

TABLE = [
    *BAD_REQUESTS,
    *PATHS,
    *METHODS,
    *UPGRADES,
    *ORIGINS,
    *SUBPROTOCOLS,
    *SIZES,
    *ORDER,
    _refused("no credentials", 401, "unauthenticated", with_token=False),
]


@pytest.mark.parametrize("case", TABLE, ids=lambda case: case.name)
def test_refused_handshake_gets_its_status_and_an_error_body(
    case: Refused, client: Clients
) -> None:
    token = client.issuer.token(fresh("user")) if case.with_token else None
    host = raw.host_of(client.relay.address)
    sent = raw.request(
        host, token=token, line=case.line, without=case.without, extra=list(case.extra)
    )
    with raw.RawSocket(client.relay.address) as socket:
        socket.send(sent, case.behind)
        response = socket.response()

    assert response.status == case.status
    assert_is_refusal(response, case.code)
    if token is not None:
        assert token.encode() not in response.raw


def assert_is_refusal(response: raw.Response, code: str) -> None:
    """The body is a `ksmpv3.error` of this code, with nothing in it that an error has not."""
    assert response.headers[b"content-type"].startswith(b"application/json")
    error = json.loads(response.body)
    assert error["type"] == "ksmpv3.error"
    assert error["code"] == code
    assert isinstance(error["message"], str)
    assert list(error) == [name for name in ERROR_FIELDS if name in error]
    assert ("retryAfterMs" in error) is error["retryable"]


def test_headers_that_a_refusal_owes_its_client_are_there(client: Clients) -> None:
    assert client.request(None).headers[b"www-authenticate"].startswith(b"Bearer")
    refused = client.request(None, without=(b"Upgrade",))
    assert refused.headers[b"sec-websocket-version"] == b"13"
    assert refused.headers[b"upgrade"].lower() == b"websocket"
    refused = client.request(None, line=b"POST /ksmp/v3 HTTP/1.1")
    assert refused.headers[b"allow"] == b"GET"


@pytest.mark.parametrize("chosen", [JSON, MSGPACK], ids=repr)
def test_good_handshake_is_switched_and_echoes_the_codec_alone(
    chosen: Codec, client: Clients
) -> None:
    user = fresh("user")
    response = client.request(
        client.issuer.token(user),
        codec=chosen,
        extra=[(b"Sec-WebSocket-Extensions", b"permessage-deflate")],
    )

    assert response.status == 101
    guid = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    accept = base64.b64encode(hashlib.sha1(b"AAECAwQFBgcICQoLDA0ODw==" + guid).digest())
    assert response.headers[b"sec-websocket-accept"] == accept
    assert response.headers[b"sec-websocket-protocol"] == chosen.subprotocol.encode()
    assert b"sec-websocket-extensions" not in response.headers


@pytest.mark.parametrize(
    ("without", "extra"),
    [
        ((b"Connection",), ((b"Connection", b"keep-alive, upgrade"),)),
        ((b"Upgrade",), ((b"Upgrade", b"WebSocket"),)),
        ((b"Host", b"Upgrade"), ((b"hOST", b"relay.example"), (b"UPGRADE", b"websocket"))),
        ((), ((b"Sec-WebSocket-Extensions", b"x-unknown; a=1, permessage-deflate"),)),
        ((), ((b"Content-Length", b"0"),)),
        ((), tuple((b"X-Proxy-%d" % n, b"x" * 50) for n in range(30))),
    ],
    ids=["list", "case", "names", "extensions", "no body", "many headers"],
)
def test_handshake_written_in_another_way_is_accepted(
    without: tuple[bytes, ...], extra: tuple[tuple[bytes, bytes], ...], client: Clients
) -> None:
    token = client.issuer.token(fresh("user"))
    assert client.request(token, without=without, extra=list(extra)).status == 101


def test_scheme_of_the_credential_is_not_case_sensitive(client: Clients) -> None:
    token = client.issuer.token(fresh("user")).encode()
    for scheme in (b"bearer", b"BEARER"):
        header = (b"Authorization", scheme + b" " + token)
        assert client.request(None, extra=[header]).status == 101


def test_no_offer_means_json_and_nothing_echoed(client: Clients) -> None:
    sent = raw.request(
        raw.host_of(client.relay.address),
        token=client.issuer.token(fresh("user")),
        without=(b"Sec-WebSocket-Protocol",),
    )
    with raw.RawSocket(client.relay.address) as socket:
        socket.send(sent)
        response = socket.response()
        assert response.status == 101
        assert b"sec-websocket-protocol" not in response.headers
        assert socket.event(JSON)["type"] == "ksmpv3.connected"


def test_unknown_offers_beside_a_known_one_are_passed_over(client: Clients) -> None:
    response = client.request(
        client.issuer.token(fresh("user")),
        without=(b"Sec-WebSocket-Protocol",),
        extra=[(b"Sec-WebSocket-Protocol", b"chat, ksmpv3.msgpack")],
    )
    assert response.status == 101
    assert response.headers[b"sec-websocket-protocol"] == b"ksmpv3.msgpack"


def test_browser_credential_is_accepted_and_never_echoed(client: Clients) -> None:
    token = client.issuer.token(fresh("user"))
    for offer in (f"ksmpv3.json, ksmpv3.bearer.{token}", f"ksmpv3.bearer.{token}, ksmpv3.json"):
        response = client.request(
            None,
            without=(b"Sec-WebSocket-Protocol",),
            extra=[(b"Sec-WebSocket-Protocol", offer.encode())],
        )
        assert response.status == 101
        assert response.headers[b"sec-websocket-protocol"] == b"ksmpv3.json"
        assert token.encode() not in response.raw


def test_origin_equal_to_the_host_is_accepted(client: Clients) -> None:
    origin = b"http://" + raw.host_of(client.relay.address)
    response = client.request(client.issuer.token(fresh("user")), extra=[(b"Origin", origin)])
    assert response.status == 101


def test_listed_origins_are_the_only_ones_accepted(start: StartRelay) -> None:
    listed = start(server__allowed_origins='["https://chat.example"]')
    own = b"http://" + raw.host_of(listed.relay.address)
    for origin, status in (
        (b"https://chat.example", 101),
        (own, 403),
        (b"http://chat.example", 403),
    ):
        token = listed.issuer.token(fresh("user"))
        assert listed.request(token, extra=[(b"Origin", origin)]).status == status


def test_only_the_first_of_two_requests_in_one_segment_is_answered(client: Clients) -> None:
    host = raw.host_of(client.relay.address)
    refused = raw.request(host, line=b"GET /elsewhere HTTP/1.1")
    with raw.RawSocket(client.relay.address) as socket:
        socket.send(refused + refused)
        assert socket.response().status == 404
        assert socket.is_at_end()


def test_request_behind_a_handshake_is_read_as_frames(client: Clients) -> None:
    host = raw.host_of(client.relay.address)
    token = client.issuer.token(fresh("user"))
    with raw.RawSocket(client.relay.address) as socket:
        socket.send(raw.request(host, token=token) * 2)
        assert socket.response().status == 101
        events, code = socket.events_until_close()
        assert [event["type"] for event in events] == ["ksmpv3.connected"]
        assert code == 1002


def test_frame_sent_with_the_handshake_is_answered_after_connected(client: Clients) -> None:
    host = raw.host_of(client.relay.address)
    token = client.issuer.token(fresh("user"))
    with raw.RawSocket(client.relay.address) as socket:
        ping = raw.message('{"type":"ksmpv3.ping","nonce":"early"}')
        socket.send(raw.request(host, token=token) + ping)
        assert socket.response().status == 101
        assert socket.event()["type"] == "ksmpv3.connected"
        assert socket.event()["nonce"] == "early"


@pytest.mark.parametrize("begun", [b"", b"GET /ksmp", b"GET /ksmp/v3 HTTP/1.1\r\nHost: a\r\n"])
def test_unfinished_handshake_gets_408_in_time(begun: bytes, start: StartRelay) -> None:
    hasty = start(limits__handshake_seconds=0.3)
    with raw.RawSocket(hasty.relay.address) as socket:
        socket.send(begun)
        response = socket.response()
        assert response.status == 408
        assert_is_refusal(response, "handshake_timeout")
        assert socket.is_at_end()


def test_connections_past_the_limit_of_a_user_get_429(start: StartRelay) -> None:
    few = start(limits__connections_per_user=2)
    with few.connect_raw("alice", device="one"), few.connect_raw("alice", device="two"):
        response = few.request(few.issuer.token("alice", "three"))
        assert response.status == 429
        assert_is_refusal(response, "rate_limited")
        assert int(response.headers[b"retry-after"]) > 0
        assert few.request(None).status == 401
        # The connection that this one replaces makes room for it; another user has room anyway.
        assert few.request(few.issuer.token("alice", "two")).status == 101
        assert few.request(few.issuer.token("bob")).status == 101


def test_connections_past_the_limit_of_the_relay_get_503(start: StartRelay) -> None:
    few = start(limits__connections=2)
    with few.connect_raw("alice"), few.connect_raw("bob"):
        response = few.request(few.issuer.token("carol"))
        assert response.status == 503
        assert_is_refusal(response, "overloaded")
        assert int(response.headers[b"retry-after"]) > 0
        assert few.request(few.issuer.token("bob")).status == 101
