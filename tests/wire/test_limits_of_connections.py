"""Connections and handshakes: as many as the limit get in, and one more does not (section 6)."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import trio

from tests.wire import raw
from tests.wire.codecs import JSON
from tests.wire.connecting import Clients, StartRelay
from tests.wire.credentials import Issuer
from tests.wire.log_lines import await_line
from tests.wire.messages import about_send, envelope, fresh, resume
from tests.wire.relay_process import RelayProcess

BEHIND_A_PROXY = '["127.0.0.1"]'


NARROW = {
    "MAX_CIPHERTEXT_BYTES": 1_000,
    "MAX_FRAME_BYTES": 5_000,
    "UNACKED_SENDS": 7,
    "SENDS_PER_SECOND": 11,
    "SENDS_BURST": 13,
    "KEEPALIVE_SECONDS": 17,
    "CONTROL_FRAMES_PER_SECOND": 3,
    "FRAGMENTS_PER_FRAME": 3,
    "STORED_BYTES_PER_SENDER": 1_000_000,
}


@pytest.fixture(scope="module")
def narrow(
    issuer: Issuer, key_set: Path, transport: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Clients]:
    """A relay of which each connection may do little."""
    settings = {f"KSMP_LIMITS__{name}": str(value) for name, value in NARROW.items()} | {
        "KSMP_AUTH__JWKS_FILE": str(key_set),
        "KSMP_SERVER__WEBSOCKET": transport,
    }
    with RelayProcess(tmp_path_factory.mktemp("narrow"), settings) as relay:
        yield Clients(issuer, relay)


def asking(own: Clients, *forwarded_for: str) -> bytes:
    """A good handshake of somebody new, with a header line for each item."""
    extra = [(b"X-Forwarded-For", item.encode()) for item in forwarded_for]
    host = raw.host_of(own.relay.address)
    return raw.request(host, token=own.issuer.token(fresh("user")), extra=extra)


def status(own: Clients, *forwarded_for: str) -> int:
    """How a handshake is answered."""
    with raw.RawSocket(own.relay.address) as client:
        client.send(asking(own, *forwarded_for))
        return client.response().status


@contextmanager
def held(own: Clients, *forwarded_for: str) -> Iterator[None]:
    """A connection that stays."""
    with raw.RawSocket(own.relay.address) as client:
        client.send(asking(own, *forwarded_for))
        assert client.response().status == 101
        assert client.event()["type"] == "ksmpv3.connected"
        yield


def test_connections_past_the_limit_of_an_address_get_429_whatever_the_header_says(
    start: StartRelay,
) -> None:
    own = start(limits__connections_per_address=2)
    with held(own), held(own, "203.0.113.1"):
        with raw.RawSocket(own.relay.address) as client:
            client.send(asking(own, "203.0.113.2"))
            refused = client.response()
        assert refused.status == 429
        assert JSON.decode(refused.body.decode())["code"] == "rate_limited"
        assert int(refused.headers[b"retry-after"]) > 0
        assert own.request(None).status == 401
    await_line(own.relay, "connection.closed", count=2)
    with held(own), held(own):
        assert status(own) == 429


def test_behind_a_trusted_proxy_each_address_it_names_has_its_own_limit(start: StartRelay) -> None:
    own = start(limits__connections_per_address=2, server__trusted_proxies=BEHIND_A_PROXY)
    with ExitStack() as stack:
        for forwarded_for in (
            ["203.0.113.1"],
            ["198.51.100.7, 203.0.113.1"],  # the left part is whatever the client made up
            ["2001:db8:1:2::1"],
            ["2001:db8:1:2:ffff::9"],
        ):
            stack.enter_context(held(own, *forwarded_for))
        assert status(own, "203.0.113.1") == 429
        assert status(own, "198.51.100.8, 203.0.113.1") == 429
        assert status(own, "198.51.100.8", "203.0.113.1") == 429
        assert status(own, "198.51.100.7") == 101
        assert status(own, "203.0.113.2") == 101
        assert status(own, "2001:db8:1:2::3") == 429
        assert status(own, "2001:db8:1:3::1") == 101
        assert status(own) == 101


def test_silent_handshakes_past_their_limit_cost_the_oldest_and_no_connection(
    start: StartRelay,
) -> None:
    own = start(limits__handshakes=2, limits__handshake_seconds=300)
    with ExitStack() as stack:
        connected = stack.enter_context(own.connect_raw())
        oldest, second = (stack.enter_context(raw.RawSocket(own.relay.address)) for _ in range(2))
        # Whoever is answered has been met, and so have those who came before.
        second.send(asking(own))
        assert second.response().status == 101
        third = stack.enter_context(raw.RawSocket(own.relay.address))
        oldest.send(b"GET /ksmp")
        stack.enter_context(raw.RawSocket(own.relay.address))
        assert oldest.is_at_end()
        third.send(asking(own))
        assert third.response().status == 101
        connected.send(raw.message('{"type":"ksmpv3.ping","nonce":"still-here"}'))
        assert connected.event()["nonce"] == "still-here"


def test_one_control_frame_past_the_limit_of_a_second_closes_with_4429(narrow: Clients) -> None:
    ping = raw.frame(raw.PING, b"x")
    with narrow.connect_raw() as client:
        client.send(ping * 3)
        answers = [client.frame() for _ in range(3)]
        assert [answer.opcode for answer in answers if answer] == [raw.PONG] * 3
    with narrow.connect_raw() as client:
        client.send(ping * 2 + raw.message('{"type":"ksmpv3.ping"}') + ping)
        assert client.close_code() == 4429


def test_one_fragment_past_the_limit_closes_with_1009(narrow: Clients) -> None:
    first, last = raw.frame(raw.TEXT, b'{"type":', fin=False), raw.frame(0, b'"ksmpv3.ping"}')
    between = raw.frame(raw.CONTINUATION, b" ", fin=False)
    with narrow.connect_raw() as client:
        client.send(first + between + last)
        assert client.event()["type"] == "ksmpv3.pong"
        client.send(first + 2 * between + last)
        assert client.close_code() == 1009


async def test_a_ciphertext_one_byte_past_the_limit_is_too_large(narrow: Clients) -> None:
    async with narrow.connect("anna", JSON) as anna:
        await anna.send(envelope("anna", "bert", ciphertext=bytes(1_000)))
        large = envelope("anna", "bert", ciphertext=bytes(1_001))
        refused = (await anna.answer_to(large)).event
        assert (refused["code"], refused["about"]) == ("too_large", about_send(large))
        await anna.send(envelope("anna", "bert"))


def test_a_message_one_byte_past_the_limit_closes_with_1009(narrow: Clients) -> None:
    ping = b'{"type":"ksmpv3.ping"}'
    with narrow.connect_raw() as client:
        client.send(raw.frame(raw.TEXT, ping.ljust(5_000)))
        assert client.event()["type"] == "ksmpv3.pong"
        client.send(raw.frame_head(raw.TEXT, 5_001))
        assert client.close_code() == 1009


async def test_connected_names_the_limits_that_a_client_needs_and_no_other(narrow: Clients) -> None:
    async with narrow.connect("alice") as peer:
        limits = peer.connected["limits"]
        keepalive = peer.connected["keepaliveMs"]

    assert keepalive == 17_000
    assert limits == {
        "maxCiphertextBytes": 1_000,
        "maxFrameBytes": 5_000,
        "maxUnackedSends": 7,
        "sendsPerSecond": 11,
        "sendsBurst": 13,
        "idempotencyWindowMs": None,
    }


async def test_whoever_reads_nothing_for_too_long_is_cut_off(start: StartRelay) -> None:
    own = start(limits__write_seconds=3)
    with socket.socket() as stuck:
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        stuck.connect(own.relay.address)
        token = own.issuer.token("bert", "stuck")
        resumed = raw.message(JSON.encode(resume(0)))
        stuck.sendall(raw.request(raw.host_of(own.relay.address), token=token) + resumed)
        async with own.connect("anna") as anna, own.connect("bert") as bert:
            await bert.resume(0)
            for _ in range(40):
                await anna.send(envelope("anna", "bert", ciphertext=bytes(200_000)))
            closed = await trio.to_thread.run_sync(await_line, own.relay, "connection.closed")
            assert closed["code"] == 4410
            assert len(await bert.frames(40)) == 40
