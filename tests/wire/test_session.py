"""The life of a connection: replaced, expired, refreshed, kept alive, drained (sections 2 to 4)."""

from __future__ import annotations

import time

import pytest
import trio

from tests.wire.codecs import JSON, Codec, Event
from tests.wire.connecting import Clients, StartRelay
from tests.wire.credentials import claims_of
from tests.wire.messages import fresh, ping
from tests.wire.raw import PING, PONG, TEXT, frame


def assert_notice(event: Event, code: str, action: str, *, retryable: bool) -> None:
    """An error that is about no event."""
    fields = ["type", "code", "message", "retryable", "retryAfterMs", "action"]
    assert list(event) == [name for name in fields if retryable or name != "retryAfterMs"]
    assert event["type"] == "ksmpv3.error"
    assert (event["code"], event["action"]) == (code, action)
    assert event["retryable"] is retryable


@pytest.mark.trio
async def test_newer_connection_of_a_device_replaces_the_older(
    client: Clients, codec: Codec
) -> None:
    user = fresh("user")
    hints = set()
    for _ in range(4):
        async with client.connect(user, codec) as older, client.connect(user, codec) as newer:
            assert await older.close_code() == 4409
            (notice,) = older.kept()
            assert_notice(notice, "replaced", "reconnect", retryable=True)
            assert notice["retryAfterMs"] >= 60_000
            hints.add(notice["retryAfterMs"])
            assert await newer.before_pong() == []
    assert len(hints) > 1, "the hint is jittered"


@pytest.mark.trio
async def test_other_device_and_other_user_replace_nothing(client: Clients) -> None:
    user = fresh("user")
    async with (
        client.connect(user) as first,
        client.connect(user, device="tablet") as tablet,
        client.connect(fresh("user")) as other,
    ):
        for peer in (first, tablet, other):
            assert await peer.before_pong() == []


@pytest.mark.trio
async def test_connection_ends_when_its_token_does(client: Clients, codec: Codec) -> None:
    user = fresh("user")
    expires = int(time.time()) + 2
    token = client.issuer.token(user, exp=expires)
    async with client.connect(user, codec, token=token) as peer:
        assert peer.connected["tokenExpiresAtMs"] == expires * 1000
        assert await peer.close_code() == 4401
        assert time.time() > expires - 0.05
        (notice,) = peer.kept()
        assert_notice(notice, "token_expired", "reauthenticate", retryable=False)


@pytest.mark.trio
async def test_refreshed_connection_outlives_its_first_token(client: Clients, codec: Codec) -> None:
    user = fresh("user")
    expires = int(time.time()) + 2
    async with client.connect(user, codec, token=client.issuer.token(user, exp=expires)) as peer:
        better = client.issuer.token(user)
        await peer.tell({"type": "ksmpv3.auth", "token": better})
        answer = await peer.receive()
        assert answer == {
            "type": "ksmpv3.auth.ok",
            "tokenExpiresAtMs": claims_of(better)["exp"] * 1000,
        }
        assert list(answer) == ["type", "tokenExpiresAtMs"]
        await trio.sleep(expires + 0.5 - time.time())
        assert await peer.before_pong() == []


KEEPALIVE_SECONDS = 0.4


@pytest.fixture
def nervous(start: StartRelay) -> Clients:
    """A relay that soon asks whether its clients are there."""
    return start(limits__keepalive_seconds=KEEPALIVE_SECONDS)


def test_silence_is_broken_by_a_ping_and_ends_with_4408(nervous: Clients) -> None:
    begun = time.monotonic()
    with nervous.connect_raw() as socket:
        asked = socket.frame()
        assert asked is not None
        assert asked.opcode == PING
        assert time.monotonic() - begun >= KEEPALIVE_SECONDS
        assert socket.close_code() == 4408
        assert time.monotonic() - begun >= 2 * KEEPALIVE_SECONDS


def test_client_that_answers_pings_stays_connected(nervous: Clients) -> None:
    with nervous.connect_raw() as socket:
        for _ in range(5):
            asked = socket.frame()
            assert asked is not None
            assert asked.opcode == PING
            socket.send(frame(PONG, asked.payload))
        socket.send(frame(TEXT, b'{"type":"ksmpv3.ping","nonce":"here"}'))
        assert socket.event()["nonce"] == "here"


@pytest.mark.trio
async def test_keepalive_is_announced_and_a_library_lives_with_it(nervous: Clients) -> None:
    async with nervous.connect("alice", JSON) as peer:
        assert peer.connected["keepaliveMs"] == KEEPALIVE_SECONDS * 1000
        await trio.sleep(KEEPALIVE_SECONDS * 5)
        await peer.tell(ping("here"))
        assert (await peer.receive())["nonce"] == "here"
