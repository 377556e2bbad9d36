"""Who is let in: good tokens of every kind, and one answer to every bad one (section 2)."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable

import pytest

from tests.wire.codecs import JSON
from tests.wire.connecting import Clients, StartRelay
from tests.wire.credentials import AUDIENCE, Issuer, claims_of, unsigned
from tests.wire.messages import fresh

MakeToken = Callable[[Issuer], str]
HOUR = 3600


def _now() -> int:
    return int(time.time())


def _without(claim: str) -> MakeToken:
    return lambda issuer: issuer.sign(
        {name: value for name, value in issuer.claims("mallory").items() if name != claim}
    )


def _with(**claims: object) -> MakeToken:
    return lambda issuer: issuer.sign(issuer.claims("mallory") | claims)


def _tampered(issuer: Issuer) -> str:
    """A good token whose claims were exchanged for those of another good one."""
    header, _, signature = issuer.token("mallory").split(".")
    return ".".join((header, issuer.token("victim").split(".")[1], signature))


BAD_TOKENS: dict[str, MakeToken] = {
    "garbage": lambda issuer: "garbage",
    "empty parts": lambda issuer: "..",
    "not signed": lambda issuer: unsigned(issuer.claims("mallory")),
    "HS256 with the public key": lambda issuer: issuer.sign_hs256_with_public_key(
        issuer.claims("mallory")
    ),
    "a stranger's key": lambda issuer: issuer.sign_as_stranger(issuer.claims("mallory")),
    "exchanged claims": _tampered,
    "unknown kid": lambda issuer: issuer.sign(issuer.claims("mallory"), kid="unknown"),
    "alg of another key": lambda issuer: issuer.sign(issuer.claims("mallory"), alg="ES256"),
    "alg not allowed": lambda issuer: issuer.sign(issuer.claims("mallory"), alg="RS256"),
    "no sub": _without("sub"),
    "no exp": _without("exp"),
    "no aud": _without("aud"),
    "empty sub": _with(sub=""),
    "long sub": _with(sub="m" * 129),
    "sub with a space": _with(sub="mal lory"),
    "numeric sub": _with(sub=5),
    "bad device": _with(device="a device"),
    "wrong aud": _with(aud="elsewhere"),
    "exp as text": _with(exp=str(_now() + HOUR)),
    "exp beyond integers": _with(exp=10**18),
    "expired": _with(exp=_now() - HOUR),
    "not yet valid": _with(nbf=_now() + HOUR),
    "peers as text": _with(peers="everyone"),
    "8 KB token": _with(padding="x" * 9_000),
}


def test_every_failure_is_the_same_401(client: Clients) -> None:
    answers = {
        name: _without_date(client.request(make(client.issuer)).raw)
        for name, make in BAD_TOKENS.items()
    }
    good = client.issuer.token(fresh("user"))
    answers |= {
        "none": _without_date(client.request(None).raw),
        "another scheme": _answer(client, (b"Authorization", b"Basic bWU6bWU=")),
        "empty": _answer(client, (b"Authorization", b"")),
        "scheme alone": _answer(client, (b"Authorization", b"Bearer")),
        "two headers": _answer(
            client,
            (b"Authorization", b"Bearer " + good.encode()),
            (b"Authorization", b"Bearer " + good.encode()),
        ),
        "header and browser item": _answer(
            client,
            (b"Authorization", b"Bearer " + good.encode()),
            (b"Sec-WebSocket-Protocol", b"ksmpv3.bearer." + good.encode()),
        ),
        "two browser items": _answer(
            client,
            (
                b"Sec-WebSocket-Protocol",
                b"ksmpv3.bearer.%b, ksmpv3.bearer.%b" % (good.encode(), good.encode()),
            ),
        ),
        "bad browser item": _answer(client, (b"Sec-WebSocket-Protocol", b"ksmpv3.bearer.e.e.e")),
    }

    assert answers["none"].startswith(b"HTTP/1.1 401 ")
    different = [name for name, answer in answers.items() if answer != answers["none"]]
    assert different == []


def test_401_says_unauthenticated_and_nothing_else(client: Clients) -> None:
    error = json.loads(client.request("garbage").body)
    assert {name: error[name] for name in error if name != "message"} == {
        "type": "ksmpv3.error",
        "code": "unauthenticated",
        "retryable": False,
        "action": "reauthenticate",
    }


def _answer(client: Clients, *headers: tuple[bytes, bytes]) -> bytes:
    return _without_date(client.request(None, extra=list(headers)).raw)


def _without_date(raw: bytes) -> bytes:
    return re.sub(rb"(?im)^date:[^\r]*\r\n", b"", raw)


GOOD_TOKENS: dict[str, Callable[[Issuer, str], str]] = {
    "EdDSA": lambda issuer, user: issuer.token(user),
    "Ed25519": lambda issuer, user: issuer.sign(issuer.claims(user), alg="Ed25519"),
    "ES256": lambda issuer, user: issuer.sign_es256(issuer.claims(user)),
    "aud in a list": lambda issuer, user: issuer.token(user, aud=["elsewhere", AUDIENCE]),
    "not yet valid, within the skew": lambda issuer, user: issuer.token(user, nbf=_now() + 15),
    "unknown claims": lambda issuer, user: issuer.token(user, email="a@b", scope=["x"]),
}


@pytest.mark.trio
@pytest.mark.parametrize("name", GOOD_TOKENS)
async def test_good_token_is_accepted_and_names_its_user(name: str, client: Clients) -> None:
    user = fresh("user")
    token = GOOD_TOKENS[name](client.issuer, user)
    async with client.connect(user, token=token) as peer:
        assert peer.connected["userId"] == user
        assert peer.connected["deviceId"] == "default"
        assert peer.connected["tokenExpiresAtMs"] == claims_of(token)["exp"] * 1000


@pytest.mark.trio
async def test_token_without_device_is_for_the_default_device(client: Clients) -> None:
    user = fresh("user")
    claims = client.issuer.claims(user)
    del claims["device"]
    async with client.connect(user, token=client.issuer.sign(claims)) as peer:
        assert peer.connected["deviceId"] == "default"


@pytest.mark.trio
async def test_token_command_prints_tokens_that_the_running_relay_accepts(client: Clients) -> None:
    users = [fresh("user"), fresh("user")]
    tokens = client.relay.tokens(users, "--device", "tablet", "--ttl", "600")
    for user, token in zip(users, tokens, strict=True):
        claims = claims_of(token)
        assert (claims["sub"], claims["device"], claims["aud"]) == (user, "tablet", AUDIENCE)
        async with client.connect(user, JSON, token=token) as peer:
            assert peer.connected["userId"] == user
            assert peer.connected["deviceId"] == "tablet"
            assert 0 < peer.connected["tokenExpiresAtMs"] - _now() * 1000 <= 601_000


def test_token_that_expired_within_the_clock_skew_is_accepted(client: Clients) -> None:
    for late, status in ((10, 101), (60, 401)):
        token = client.issuer.token(fresh("user"), exp=_now() - late)
        assert client.request(token).status == status


def test_issuer_and_audience_are_checked_where_configured(start: StartRelay) -> None:
    strict = start(auth__issuer="https://id.example", auth__audience="our-relay")
    good = {"iss": "https://id.example", "aud": "our-relay"}
    wrong = [{}, {"aud": "our-relay"}, good | {"aud": AUDIENCE}, good | {"iss": "https://id"}]

    assert strict.request(strict.issuer.token("alice", **good)).status == 101
    for claims in wrong:
        assert strict.request(strict.issuer.token("alice", **claims)).status == 401


def test_algorithm_outside_the_allow_list_is_refused(start: StartRelay) -> None:
    strict = start(auth__algorithms='["ES256"]')
    claims = strict.issuer.claims("alice")

    assert strict.request(strict.issuer.sign_es256(claims)).status == 101
    assert strict.request(strict.issuer.sign(claims)).status == 401
