"""Before the upgrade: what is let through, and who is one too many.

What is refused, and how, is the table of bad input: tests/edge.
"""

from __future__ import annotations

import base64
import hashlib
import json

import pytest

from tests.wire import raw
from tests.wire.codecs import JSON, MSGPACK, Codec
from tests.wire.connecting import Clients, StartRelay
from tests.wire.messages import fresh

ERROR_FIELDS = ["type", "code", "message", "retryable", "retryAfterMs", "action"]


def assert_is_refusal(response: raw.Response, code: str) -> None:
    """The body is a `ksmpv3.error` of this code, with nothing in it that an error has not."""
    assert response.headers[b"content-type"].startswith(b"application/json")
    error = json.loads(response.body)
    assert error["type"] == "ksmpv3.error"
    assert error["code"] == code
    assert isinstance(error["message"], str)
    assert list(error) == [name for name in ERROR_FIELDS if name in error]
    assert ("retryAfterMs" in error) is error["retryable"]


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
        ((b"Host", b"Upgrade"), ((b"hOST", b"relay.example"), (b"UPGRADE", b"websocket"))),
        ((), tuple((b"X-Proxy-%d" % n, b"x" * 50) for n in range(30))),
    ],
    ids=["names", "many headers"],
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
