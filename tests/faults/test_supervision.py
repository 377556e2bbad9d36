"""A conversation that crashes on and on, and a poisoned one, in a relay process, to the end.

Everything that the clients say and hear is recorded, and each test ends with the verdict of the
checker: order, numbers and what was promised hold through all of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Final

import pytest
import trio

from tests.wire.canaries import found_in
from tests.wire.clients import Peer
from tests.wire.codecs import Event
from tests.wire.connecting import StartRelay
from tests.wire.laboratory import Laboratory, PatientOperator
from tests.wire.log_lines import lines
from tests.wire.messages import envelope, fresh, send

pytestmark = [pytest.mark.trio, pytest.mark.timeout(120)]

TALK: Final = "canary-talk-5b1e"
ALICE: Final = "canary-alice-90d2"
BOB: Final = "canary-bob-41aa"
TEXT: Final = b"canary-sealed-7c07"
POISON: Final = "canary-poison"
CANARIES: Final = (TALK.encode(), ALICE.encode(), BOB.encode(), TEXT, POISON.encode())
ROUND: Final = 12
"""Sends at once: more than are rejected before a quarantine."""


async def offer(peer: Peer, *envelopes: Event) -> list[Event]:
    """Send them all at once; the answer to each."""
    await peer.tell(*map(send, envelopes))
    return [(await peer.answer_about(one)).event for one in envelopes]


async def envelopes(peer: Peer, count: int) -> list[Event]:
    """What arrives next."""
    return [frame.event["envelope"] for frame in await peer.frames(count)]


async def operate(lab: Laboratory, path: str, method: str = "GET") -> Event:
    """What the admin listener answers, which must be good."""
    answer = await trio.to_thread.run_sync(lambda: lab.operator.look(path, method))
    assert answer.status == 200, answer
    told: Event = answer.json
    return told


async def order_crashes(lab: Laboratory, **chosen: object) -> None:
    await trio.to_thread.run_sync(lambda: lab.order("number", "raise", **chosen))


@pytest.fixture
def lab(start: StartRelay) -> Iterator[Laboratory]:
    """A laboratory that says nothing of what its clients say, to the end."""
    own = start(options=("--lab",))
    yield Laboratory(own, PatientOperator(own.relay))
    assert found_in(own.relay.output(), CANARIES) == []
    assert b"Traceback" not in own.relay.output()


def sealed(**fields: object) -> Event:
    return envelope(ALICE, BOB, conversationId=TALK, ciphertext=TEXT, **fields)


def refused(offered: list[Event], answers: list[Event]) -> tuple[list[Event], float]:
    """Which envelopes may be offered again, and in how many seconds."""
    again, seconds = [], 0.0
    for one, answer in zip(offered, answers, strict=True):
        if answer["code"] == "rejected":
            assert (answer["retryable"], answer["action"]) == (False, "stop")
            continue
        assert (answer["code"], answer["retryable"]) == ("conversation_unavailable", True)
        seconds = max(seconds, answer["retryAfterMs"] / 1_000)
        again.append(one)
    return again, seconds


@pytest.mark.rule("S18", "S19", "S22", "S26")
@pytest.mark.promises("I1", "I2", "I3", "I4", "I6", "I7", "I8", "I9", "I12")
async def test_a_conversation_that_crashes_on_and_on_is_left_alone_released_and_goes_on(
    start: StartRelay, lab: Laboratory
) -> None:
    others = fresh("carol"), fresh("dave")
    in_all: list[Event] = []
    quarantined: Event = {}
    async with AsyncExitStack() as stack:
        alice, bob, carol, dave = [
            await stack.enter_async_context(lab.clients.connect(user))
            for user in (ALICE, BOB, *others)
        ]
        await bob.resume(0)
        await dave.resume(0)
        acks = await offer(alice, *(sealed() for _ in range(3)))
        assert [ack["serverSeq"] for ack in acks] == [1, 2, 3]
        users = {"conversation_id": TALK, "users": [ALICE, BOB]}
        await order_crashes(lab, conversations=[users])

        hints = []
        for seconds in (1, 4, 16):
            offered = [sealed() for _ in range(ROUND)]
            again, hint = refused(offered, await offer(alice, *offered))
            in_all += again
            hints.append(hint)
            quarantined = await operate(lab, "/conversations/quarantined")
            bystanders = [envelope(*others, conversationId="theirs") for _ in range(20)]
            assert {ack["type"] for ack in await offer(carol, *bystanders)} == {"ksmpv3.send.ack"}
            if seconds < 16:
                await trio.sleep(hint)

        (one,) = quarantined["quarantined"]
        assert (quarantined["total"], one["times"]) == (1, 3)
        assert 0 < one["seconds"] <= 16
        assert 0 < hints[0] <= 1.001 < hints[1] <= 4.001 < hints[2] <= 16.001
        early, hint = refused(in_all[:1], await offer(alice, in_all[0]))
        assert (len(early), hint <= 16.001) == (1, True)

        await trio.to_thread.run_sync(lab.clear)
        path = f"/conversations/{one['conversation']}/release"
        assert await operate(lab, path, "POST") == {"released": True}
        assert (await operate(lab, "/conversations/quarantined"))["total"] == 0
        acks = await offer(alice, *in_all)
        assert [ack["serverSeq"] for ack in acks] == list(range(4, 4 + len(in_all)))
        delivered = await envelopes(bob, 3 + len(in_all))
        assert [frame["serverSeq"] for frame in delivered] == list(range(1, 4 + len(in_all)))
        await envelopes(dave, 60)

    told = [line["seconds"] for line in lines(lab.relay, "actor.quarantined")]
    assert told == [1, 4, 16]
    metrics = await trio.to_thread.run_sync(lab.operator.metrics)
    assert metrics["ksmp_quarantines_total"] == 3
    assert metrics['ksmp_failures_total{kind="conversation"}'] == 18
    assert 'ksmp_failures_total{kind="router"}' not in metrics


@pytest.mark.rule("S12", "S13", "S16")
@pytest.mark.promises("I1", "I2", "I3", "I4", "I6", "I7", "I8", "I9", "I12")
async def test_poisoned_letters_are_rejected_and_listed_without_content_and_the_rest_is_stored(
    start: StartRelay, lab: Laboratory
) -> None:
    async with lab.clients.connect(ALICE) as alice, lab.clients.connect(BOB) as bob:
        await bob.resume(0)
        first = sealed()
        assert [ack["serverSeq"] for ack in await offer(alice, first)] == [1]
        await order_crashes(lab, keys=POISON)
        offered = [
            sealed(idempotencyKey=f"{POISON}-{n}") if n % 3 == 1 else sealed() for n in range(24)
        ]
        answers = await offer(alice, *offered)
        good = [one["idempotencyKey"] for n, one in enumerate(offered) if n % 3 != 1]
        good = [first["idempotencyKey"], *good]
        delivered = await envelopes(bob, len(good))
        dead = await trio.to_thread.run_sync(lambda: lab.operator.look("/dead-letters"))
        quarantined = await operate(lab, "/conversations/quarantined")

    assert Counter(answer.get("code", "acked") for answer in answers) == {
        "rejected": 8,
        "acked": 16,
    }
    assert all(answer["code"] == "rejected" for answer in answers[1::3])
    assert [frame["idempotencyKey"] for frame in delivered] == good
    assert [frame["serverSeq"] for frame in delivered] == list(range(1, 18))
    assert quarantined["total"] == 0
    assert dead.json["total"] == len(dead.json["latest"]) == 8
    hashes = {line["conversation"] for line in lines(lab.relay, "letter.dead")}
    assert {one["conversation"] for one in dead.json["latest"]} == hashes
    for one in dead.json["latest"]:
        assert set(one) == {"at_ms", "kind", "conversation", "error", "at"}
        assert (one["kind"], one["error"]) == ("SendLetter", "OrderedFaultError")
    assert found_in(dead.body, CANARIES) == []
