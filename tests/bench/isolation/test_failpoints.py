"""Orders go to the admin listener in the words that it takes, and an answer is waited for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import msgspec
import pytest

from bench.isolation.experiment import Experiment
from bench.isolation.failpoints import (
    FailpointError,
    Failpoints,
    NoRelayError,
    for_conversations,
)
from bench.isolation.faults import IN_A_LABORATORY, LOOP_HELD_SHARE, Ordered, orders_of
from bench.isolation.findings import FaultName
from bench.isolation.plan import LoadPlan
from bench.relay_of_its_own import Admin
from ksmp.types import ConversationId, UserId
from storage.fault_orders import Action, ConversationName, Order, Place, decode_order

CRASH = Order(place=Place.NUMBER, action=Action.RAISE)


class Peer:
    """A stranger who answers as an admin listener would."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str | None, object]] = []
        self.status = 201
        self.answer: dict[str, object] = {"id": 1}


@contextmanager
def listening(peer: Peer) -> Iterator[Admin]:
    class Answering(BaseHTTPRequestHandler):
        def _take(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            token = self.headers.get("Authorization")
            peer.asked.append((self.command, self.path, token, json.loads(body) if body else None))
            self.send_response(peer.status)
            self.end_headers()
            self.wfile.write(json.dumps(peer.answer).encode())

        do_POST = do_DELETE = _take  # noqa: N815 - named by the library

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        Thread(target=server.serve_forever, args=(0.01,)).start()
        try:
            yield Admin("127.0.0.1", server.server_port, "secret")
        finally:
            server.shutdown()


def conversations(count: int) -> list[ConversationName]:
    users = UserId("a"), UserId("b")
    return [ConversationName(ConversationId(f"c{number}"), users) for number in range(count)]


def plan_of(fault: FaultName, rate_per_s: float, seconds: float) -> LoadPlan:
    experiment = Experiment(fault, 100, 10, seconds, rate_per_s, seed=3, quick=False, slower_ms=20)
    return LoadPlan(experiment, rate_per_s, "", (), (), Admin("", 0, ""), 1.0, "", "")


def test_an_order_is_posted_with_the_token_and_holds_what_is_given_and_no_more() -> None:
    peer = Peer()
    with listening(peer) as admin:
        Failpoints(admin).order(for_conversations(CRASH, conversations(1)))

    order = {
        "place": "number",
        "action": "raise",
        "conversations": [{"conversation_id": "c0", "users": ["a", "b"]}],
    }
    assert peer.asked == [("POST", "/failpoints", "Bearer secret", order)]


def test_many_conversations_take_several_orders() -> None:
    orders = for_conversations(CRASH, conversations(2_500))
    counts = [len(json.loads(msgspec.json.encode(order))["conversations"]) for order in orders]

    assert counts == [1_024, 1_024, 452]


def test_clearing_takes_all_orders_back() -> None:
    peer = Peer()
    peer.status, peer.answer = 200, {"cleared": 1}
    with listening(peer) as admin:
        Failpoints(admin).clear()

    assert peer.asked == [("DELETE", "/failpoints", "Bearer secret", None)]


def test_a_relay_that_is_no_laboratory_is_an_error_that_says_so() -> None:
    peer = Peer()
    peer.status, peer.answer = 404, {"error": "not_a_lab", "message": "Start it with --lab."}
    with listening(peer) as admin, pytest.raises(FailpointError, match=r"404 not_a_lab .*--lab"):
        Failpoints(admin).order([CRASH])


def test_an_admin_listener_that_is_not_there_is_an_error() -> None:
    with listening(Peer()) as admin:
        pass

    with pytest.raises(NoRelayError, match="ConnectionRefusedError"):
        Failpoints(admin).clear()


def test_a_fault_that_has_ended_the_relay_is_over() -> None:
    with listening(Peer()) as admin:
        pass
    experiment = Experiment("crash-loop", 2, 1, 60.0, 100.0, seed=3, quick=False)
    plan = LoadPlan(experiment, 100.0, "", (), (), admin, 1.0, "", "")

    asyncio.run(Ordered(plan, []).end())


@pytest.mark.parametrize("fault", sorted(IN_A_LABORATORY))
@pytest.mark.parametrize(("rate_per_s", "seconds"), [(2_000.0, 60.0), (1.0, 3.0), (1.0, 3_600.0)])
def test_a_relay_understands_every_order_that_a_fault_gives(
    fault: FaultName, rate_per_s: float, seconds: float
) -> None:
    given = orders_of(plan_of(fault, rate_per_s, seconds), conversations(10))
    texts = [msgspec.json.encode(order) for order in given]
    orders = [json.loads(text) for text in texts]

    assert [decode_order(text) for text in texts] == given  # raises where the relay would refuse
    named = {one["conversation_id"] for order in orders for one in order.get("conversations", [])}
    assert named == (set() if fault == "slow-sync" else {f"c{number}" for number in range(10)})


def test_a_slow_loop_is_held_up_for_a_small_share_of_the_time() -> None:
    (order,) = orders_of(plan_of("slow-loop", 2_000.0, 60.0), conversations(10))

    # 200 sends a second to victims, 20 ms each, would be four times all the time there is
    assert order.probability * 200 * 0.02 == pytest.approx(LOOP_HELD_SHARE)
