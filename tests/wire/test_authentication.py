"""Who is let in, as whom and for how long, and what the operator may demand (section 2)."""

from __future__ import annotations

import time

import pytest

from tests.wire.codecs import JSON
from tests.wire.connecting import Clients, StartRelay
from tests.wire.credentials import AUDIENCE, claims_of
from tests.wire.messages import fresh


def _now() -> int:
    return int(time.time())


@pytest.mark.trio
async def test_good_token_is_accepted_and_names_its_user(client: Clients) -> None:
    user = fresh("user")
    token = client.issuer.token(user)
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
