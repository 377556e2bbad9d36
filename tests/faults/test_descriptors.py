"""Out of descriptors, the relay goes on with everyone it has, and lets new ones in when it can."""

from __future__ import annotations

import resource
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Final

import pytest

from tests.faults.observing import KIB, pid_of, ticks
from tests.faults.status import log_of, status_of, wait_for_connections
from tests.wire import raw
from tests.wire.clients import ANSWER_SECONDS
from tests.wire.codecs import MSGPACK, Event
from tests.wire.connecting import Clients, StartRelay
from tests.wire.messages import ack_read, envelope, fresh, ping, resume, send
from tests.wire.recording import RecordedSocket

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

SPARE_DESCRIPTORS: Final = 24
SILENT: Final = 2 * SPARE_DESCRIPTORS
LARGE_SENDS: Final = 80
WAITING: Final = 10
TICKS_OF_A_RELAY_AT_REST: Final = 10  # hundredths of a second of processor time, in a second
NEVER: Final = 3_600

Exhausted = tuple[RecordedSocket, RecordedSocket, ExitStack]


@pytest.fixture
def own(start: StartRelay) -> Clients:
    """A relay that no limit but that on descriptors keeps from anything."""
    return start(
        limits__handshakes=1_000,
        limits__handshake_seconds=NEVER,
        limits__keepalive_seconds=NEVER,
        limits__sends_per_second=1_000_000,
        limits__sends_burst=1_000_000,
    )


def leave_descriptors(own: Clients, spare: int) -> None:
    """Let the relay open no more than so many beside those it has open."""
    most = (status_of(own.relay).descriptors or 0) + spare
    resource.prlimit(pid_of(own.relay), resource.RLIMIT_NOFILE, (most, most))


def ask(peer: RecordedSocket, event: Event, answer: str) -> Event:
    """The next event of type `ksmpv3.<answer>`, after telling `event`."""
    peer.tell(event)
    while (received := peer.take())["type"] != f"ksmpv3.{answer}":
        assert received["type"] == "ksmpv3.inbox.frame", received
    return received


def fill_up(own: Clients, stack: ExitStack) -> list[raw.RawSocket]:
    """Connect until the relay has no descriptor left."""
    inside = []
    while status_of(own.relay).descriptors is not None:
        inside.append(stack.enter_context(own.connect_raw(codec=MSGPACK)))
    return inside


def knock(own: Clients) -> raw.RawSocket:
    """A client that has sent its request and waits."""
    waiting = raw.RawSocket(own.relay.address)
    token = own.issuer.token(fresh("waiting"))
    waiting.send(raw.request(raw.host_of(own.relay.address), token=token, codec=MSGPACK))
    return waiting


@pytest.fixture
def exhausted(own: Clients) -> Iterator[Exhausted]:
    """Alice and bob are connected; others, whom the stack closes, have taken all descriptors."""
    with (
        own.connect_recorded("alice") as alice,
        own.connect_recorded("bob") as bob,
        ExitStack() as others,
    ):
        leave_descriptors(own, SPARE_DESCRIPTORS)
        fill_up(own, others)
        yield alice, bob, others


@pytest.mark.promises("I1", "I5", "I9", "I10", "I12", "I13", "I18")
def test_those_who_are_connected_do_without_descriptors_whatever_they_do(
    own: Clients, exhausted: Exhausted
) -> None:
    alice, bob, _ = exhausted
    sent = envelope("alice", "bob", conversationId="talk")

    assert ask(alice, send(sent), "send.ack")["serverSeq"] == 1
    for _ in range(LARGE_SENDS):  # the store's file grows
        large = envelope("alice", "bob", conversationId="talk", ciphertext=bytes(250 * KIB))
        ask(alice, send(large), "send.ack")
    bob.tell(resume(0))
    for number in range(1, LARGE_SENDS + 2):
        assert bob.take()["globalInboxSeq"] == number
    assert bob.take()["type"] == "ksmpv3.resume.complete"
    assert ask(bob, ack_read("talk", "alice", 7), "read")["serverSeq"] == 7
    assert ask(bob, {"type": "nonsense"}, "error")["code"] == "unknown_event"
    bob.send(raw.message(b"\xc1"))
    assert bob.take()["code"] == "malformed"
    token = own.issuer.token("bob", "default")
    assert ask(bob, {"type": "ksmpv3.auth", "token": token}, "auth.ok")
    assert ask(bob, {"type": "ksmpv3.auth", "token": token}, "error")["code"] == "rate_limited"
    assert ask(alice, send(sent), "send.ack")["serverSeq"] == 1
    assert ask(alice, send(sent | {"contentType": "image"}), "error")["code"] == (
        "idempotency_conflict"
    )


@pytest.mark.promises("I1", "I12")
def test_out_of_descriptors_the_relay_answers_its_operator_and_is_at_rest(
    own: Clients, exhausted: Exhausted
) -> None:
    alice, _, others = exhausted
    begun = time.monotonic()
    for _ in range(WAITING):
        others.enter_context(knock(own))
    full = status_of(own.relay)

    used, at = ticks(pid_of(own.relay)), time.monotonic()
    time.sleep(1.0)
    used = ticks(pid_of(own.relay)) - used
    assert used <= TICKS_OF_A_RELAY_AT_REST * (time.monotonic() - at)

    own.relay.signal(signal.SIGHUP)
    assert ask(alice, ping("still-here"), "pong")["nonce"] == "still-here"
    assert ask(alice, send(envelope("alice", "bob")), "send.ack")["serverSeq"] == 1
    now = status_of(own.relay)
    assert (now.connections, now.descriptors) == (full.connections, None)
    reports = log_of(own.relay, "listener.capacity")
    assert 1 <= len(reports) <= 2 + (time.monotonic() - begun) / 60
    assert {report["code"] for report in reports} == {"Too_many_open_files"}
    assert b"Traceback" not in own.relay.output()


@pytest.mark.promises("I1", "I12")
def test_those_who_wait_get_in_when_others_leave(own: Clients, exhausted: Exhausted) -> None:
    alice, _, others = exhausted
    full = status_of(own.relay)
    with ExitStack() as stack:
        waiting = [stack.enter_context(knock(own)) for _ in range(WAITING)]
        assert status_of(own.relay).connections == full.connections

        others.close()

        for one in waiting:
            assert one.response().status == 101
            assert one.event(MSGPACK)["type"] == "ksmpv3.connected"
        assert ask(alice, send(envelope("alice", "bob")), "send.ack")["serverSeq"] == 1
        wait_for_connections(own.relay, 2 + WAITING, ANSWER_SECONDS)
        assert status_of(own.relay).descriptors is not None


@pytest.mark.promises("I1", "I12")
def test_who_says_nothing_keeps_nobody_out_and_no_one_who_is_in_is_put_out(own: Clients) -> None:
    with own.connect_recorded("alice") as alice, ExitStack() as stack:
        leave_descriptors(own, SPARE_DESCRIPTORS)
        for _ in range(SILENT):
            stack.enter_context(raw.RawSocket(own.relay.address))
        assert status_of(own.relay).descriptors is None

        for _ in range(SPARE_DESCRIPTORS // 2):
            stack.enter_context(own.connect_raw(codec=MSGPACK))

        assert ask(alice, send(envelope("alice", "bob")), "send.ack")["serverSeq"] == 1
        assert status_of(own.relay).connections == 1 + SPARE_DESCRIPTORS // 2
