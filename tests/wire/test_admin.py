"""What an operator sees of a relay that runs: the truth, nobody's content, with a token only."""

from __future__ import annotations

import json
import socket
import stat
from collections.abc import Callable
from functools import partial
from http.client import HTTPConnection
from typing import TypeVar

import pytest
import trio

from tests.wire.canaries import found_in
from tests.wire.codecs import JSON
from tests.wire.connecting import Clients, StartRelay
from tests.wire.log_lines import lines
from tests.wire.messages import ack_read, envelope, fresh
from tests.wire.operator import Operator

CLOSED = ["/metrics", "/dead-letters", "/conversations/quarantined"]


@pytest.fixture
def transport() -> str:
    """One is enough: what is behind the admin listener is the same for both."""
    return "websockets"


T = TypeVar("T")


async def in_thread(call: Callable[[], T]) -> T:
    return await trio.to_thread.run_sync(call)


def test_health_needs_no_token_and_everything_else_does(start: StartRelay) -> None:
    relay = start().relay
    operator = Operator(relay)

    assert operator.ask("/healthz").json == {"status": "ok"}
    assert operator.ask("/readyz").json == {"ready": True, "reasons": []}
    for path in (*CLOSED, "/conversations/abc/release", "/", "/docs", "/healthz/"):
        assert operator.ask(path).status == 401, path
        assert operator.ask(path, token=operator.token[:-1]).status == 401, path
    for path in CLOSED:
        assert operator.look(path).status == 200, path
        assert operator.ask(path, "POST", token=operator.token).status == 405, path
    assert operator.look("/no-such-page").status == 404
    assert operator.ask("/healthz", "POST", body=b"x" * 100_000).status == 413
    token = relay.data_directory / "admin-token"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert f"http://127.0.0.1:{operator.address[1]}".encode() in relay.output()
    assert str(token).encode() in relay.output()
    assert operator.token.encode() not in relay.output()


def test_the_token_survives_a_restart_and_the_listener_can_be_turned_off(start: StartRelay) -> None:
    relay = start().relay
    token = Operator(relay).token
    relay.restart()
    assert Operator(relay).token == token
    assert Operator(relay).ask("/metrics", token=token).status == 200
    assert relay.terminate() == 0
    relay.start({"KSMP_ADMIN__ENABLED": "false"})
    assert relay.admin_address is None


@pytest.mark.trio
async def test_the_metrics_agree_with_what_was_done(start: StartRelay) -> None:
    own = start(limits__sends_burst=30, limits__sends_per_second=1)
    operator = Operator(own.relay)
    nothing = await in_thread(operator.metrics)
    assert nothing["ksmp_sends_total"] == nothing["ksmp_connections"] == 0
    async with own.connect("alice") as alice, own.connect("bob", JSON) as bob:
        await bob.resume(0)
        offered = [envelope("alice", "bob", conversationId=fresh("talk")) for _ in range(20)]
        for one in offered:
            await alice.send(one)
        await alice.send(offered[0])  # known already: acknowledged, and not stored again
        frames = await bob.frames(20)
        await bob.tell(ack_read(offered[0]["conversationId"], "alice", 99))
        assert (await bob.error())["code"] == "invalid_seq"
        told = await alice.answer_to(envelope("eve", "bob"))
        assert told.event["code"] == "forbidden_sender"
        assert own.request(None).status == 401
        now = await in_thread(operator.metrics)

    assert now["ksmp_connections"] == now["ksmp_connections_opened_total"] == 2
    assert (now["ksmp_sends_total"], now["ksmp_acks_total"]) == (21, 21)
    assert now["ksmp_frames_total"] == 20
    assert now["ksmp_frames_bytes_total"] == sum(len(frame.raw) for frame in frames)
    assert now["ksmp_received_total"] == 21 + 3
    assert now['ksmp_errors_total{code="forbidden_sender"}'] == 1
    assert now['ksmp_errors_total{code="invalid_seq"}'] == 1
    assert now['ksmp_handshakes_refused_total{code="unauthenticated"}'] == 1
    assert now["ksmp_conversations_live"] == 20
    assert now["ksmp_letters_under_way"] == now["ksmp_letters_under_way_bytes"] == 0
    assert now["ksmp_mailbox_depth_peak"] >= 1
    commits = now["ksmp_commit_seconds_count"]
    assert 1 <= commits <= 20
    assert commits == now["ksmp_sync_seconds_count"] == now["ksmp_commit_operations_count"]
    assert commits == now['ksmp_commit_seconds_bucket{le="+Inf"}']
    assert now["ksmp_commit_operations_sum"] >= 20
    assert 0 < now["ksmp_sync_seconds_sum"] <= now["ksmp_commit_seconds_sum"]
    assert now["ksmp_ready"] == 1
    assert now["ksmp_store_bytes"] > 0
    assert now["ksmp_store_map_used_bytes"] <= now["ksmp_store_map_bytes"]
    assert now["ksmp_disk_free_bytes"] > 0
    then = await in_thread(operator.metrics)
    assert then['ksmp_connections_closed_total{code="1000"}'] == 2
    assert then["ksmp_connections"] == 0


@pytest.mark.trio
async def test_a_relay_that_drains_says_so_until_its_end(start: StartRelay) -> None:
    own = start(server__drain_seconds=10)
    operator = Operator(own.relay)
    with own.connect_raw("alice"):  # it does not read, so the relay waits for its close
        await in_thread(own.relay.signal_terminate)
        answer = await in_thread(lambda: operator.ask("/readyz"))
        while answer.status == 200:
            answer = await in_thread(lambda: operator.ask("/readyz"))
        assert (answer.status, answer.json) == (503, {"ready": False, "reasons": ["draining"]})
        assert (await in_thread(operator.metrics))["ksmp_ready"] == 0
    assert await in_thread(own.relay.wait) == 0


def request(*headers: str) -> bytes:
    return "\r\n".join(["GET /healthz HTTP/1.1", "Host: \xff", *headers, "", ""]).encode("latin-1")


def test_nonsense_on_the_admin_port_harms_nobody(start: StartRelay) -> None:
    own = start()
    operator = Operator(own.relay)
    for nonsense in (
        b"\x00\xff" * 4_000,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(100),
        b"GET /healthz HTTP/1.1\r\n" + b"x: y\r\n" * 5_000,
        b"POST /readyz HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n",
        request("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: \xff"),
        request("Upgrade: websocket", "Connection: upgrade", "Sec-WebSocket-Version: 13"),
        request("Upgrade: \xff", "Authorization: \xff"),
    ):
        with socket.create_connection(operator.address) as client:
            client.sendall(nonsense)
            client.shutdown(socket.SHUT_WR)
            client.settimeout(10)
            try:
                while client.recv(65_536):
                    pass
            except ConnectionResetError:
                pass
    assert operator.ask("/healthz").status == 200
    assert operator.look("/metrics").status == 200
    assert lines(own.relay, "actor.failed") == []
    assert len(lines(own.relay, "bug")) <= 1  # they are rare in the log, however many there are
    assert own.relay.terminate() == 0
    assert b"Traceback" not in own.relay.output()


def test_one_connection_can_ask_several_times(start: StartRelay) -> None:
    connection = HTTPConnection(*Operator(start().relay).address, timeout=10)
    for _ in range(3):
        connection.request("GET", "/healthz")
        assert json.loads(connection.getresponse().read()) == {"status": "ok"}
    connection.close()


CANARIES = ["canary-alice-51f0", "canary-bob-77c2", "canary-talk-0b1d", "canary-key-9e4a"]


@pytest.mark.trio
async def test_no_answer_holds_anything_that_a_client_has_chosen(start: StartRelay) -> None:
    own: Clients = start()
    alice_id, bob_id, talk, key = CANARIES
    sealed = envelope(alice_id, bob_id, conversationId=talk, idempotencyKey=key)
    token = own.issuer.token(alice_id)
    async with own.connect(alice_id, token=token) as alice, own.connect(bob_id) as bob:
        await bob.resume(0)
        await alice.send(sealed)
        await bob.frames(1)
        await alice.answer_to(envelope(bob_id, alice_id, conversationId=talk, idempotencyKey=key))
        operator = Operator(own.relay)
        paths = ["/healthz", "/readyz", *CLOSED, f"/conversations/{talk}/release"]
        answers = [await in_thread(partial(operator.look, path)) for path in paths]
        by_post = operator.look(f"/conversations/{talk}/release", "POST")

    said = b"".join(repr(answer).encode() + answer.body for answer in (*answers, by_post))
    assert len(said) > 5_000
    assert found_in(said, [text.encode() for text in (*CANARIES, token, operator.token)]) == []
    assert found_in(own.relay.output(), [operator.token.encode()]) == []
