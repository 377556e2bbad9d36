"""A conversation that crashes on and on, and a poisoned one, in a relay process, to the end.

Everything that the clients say and hear is recorded, and each test ends with the verdict of the
checker: order, numbers and what was promised hold through all of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from time import monotonic_ns
from typing import Final

import pytest
import trio

from bench.checker.check import check
from bench.history import Recorder
from tests.wire.canaries import found_in
from tests.wire.clients import Frame, Peer
from tests.wire.codecs import Event
from tests.wire.credentials import Issuer
from tests.wire.laboratory import Laboratory, laboratory
from tests.wire.log_lines import lines
from tests.wire.messages import envelope, fresh, send
from tests.wire.recording import RecordedLine, Recording

pytestmark = [pytest.mark.trio, pytest.mark.timeout(120)]

TALK: Final = "canary-talk-5b1e"
ALICE: Final = "canary-alice-90d2"
BOB: Final = "canary-bob-41aa"
TEXT: Final = b"canary-sealed-7c07"
POISON: Final = "canary-poison"
CANARIES: Final = (TALK.encode(), ALICE.encode(), BOB.encode(), TEXT, POISON.encode())
EXERCISED: Final = {f"I{number}" for number in (1, 2, 3, 4, 6, 7, 8, 9, 12)}
ROUND: Final = 12
"""Sends at once: more than are rejected before a quarantine."""


class Party:
    """One user on one connection; what is said and heard is recorded."""

    def __init__(self, peer: Peer, line: RecordedLine) -> None:
        self.peer = peer
        self._line = line

    async def offer(self, *envelopes: Event) -> list[Event]:
        """Send them all at once; the answer to each."""
        for one in envelopes:
            self._line.send(one)
        await self.peer.tell(*map(send, envelopes))
        answers = [await self.peer.answer_about(one) for one in envelopes]
        self._line.received(*answers)
        return [answer.event for answer in answers]

    async def frames(self, count: int) -> list[Event]:
        """What arrives next."""
        frames: list[Frame] = await self.peer.frames(count)
        self._line.received(*frames)
        return [frame.event["envelope"] for frame in frames]

    async def read(self, *, is_final: bool = False) -> None:
        """Everything from the start, and then what comes."""
        self._line.resume(0, is_final=is_final)
        self._line.received(*await self.peer.resume(0))


class Stage:
    """A laboratory with its history."""

    def __init__(self, lab: Laboratory, recorder: Recorder) -> None:
        self.lab = lab
        self._recording = Recording(recorder)

    @asynccontextmanager
    async def party(self, user: str) -> AsyncIterator[Party]:
        began_ns = monotonic_ns()
        async with self.lab.clients.connect(user) as peer:
            line = self._recording.line(peer, began_ns)
            yield Party(peer, line)
        line.closed()

    async def operate(self, path: str, method: str = "GET") -> Event:
        """What the admin listener answers, which must be good."""
        answer = await trio.to_thread.run_sync(lambda: self.lab.operator.look(path, method))
        assert answer.status == 200, answer
        told: Event = answer.json
        return told

    async def order(self, place: str, action: str, **fields: object) -> None:
        await trio.to_thread.run_sync(lambda: self.lab.order(place, action, **fields))

    async def read_everything(self, *users: str) -> None:
        """Every inbox once more, when nobody sends any longer."""
        for user in users:
            async with self.party(user) as party:
                await party.read(is_final=True)


@pytest.fixture
def stage(issuer: Issuer, key_set: Path, transport: str, tmp_path: Path) -> Iterator[Stage]:
    """A laboratory; at the end the checker has its say."""
    lab, history = laboratory(tmp_path / "lab", issuer, key_set, transport), tmp_path / "history"
    with lab.relay:
        with Recorder(history, relay="under test", seed=0) as recorder:
            yield Stage(lab, recorder)
        assert lab.relay.terminate() == 0
        assert found_in(lab.relay.output(), CANARIES) == []
        assert b"Traceback" not in lab.relay.output()
    report = check(history)
    assert [(one.invariant, one.excerpt) for one in report.verdicts if one.violations] == []
    assert report.ok
    assert EXERCISED.isdisjoint(report.not_exercised)


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
async def test_a_conversation_that_crashes_on_and_on_is_left_alone_released_and_goes_on(
    stage: Stage,
) -> None:
    others = fresh("carol"), fresh("dave")
    in_all: list[Event] = []
    quarantined: Event = {}
    async with AsyncExitStack() as stack:
        alice, bob, carol, dave = [
            await stack.enter_async_context(stage.party(user)) for user in (ALICE, BOB, *others)
        ]
        await bob.read()
        await dave.read()
        acks = await alice.offer(*(sealed() for _ in range(3)))
        assert [ack["serverSeq"] for ack in acks] == [1, 2, 3]
        users = {"conversation_id": TALK, "users": [ALICE, BOB]}
        await stage.order("number", "raise", conversations=[users])

        hints = []
        for seconds in (1, 4, 16):
            offered = [sealed() for _ in range(ROUND)]
            again, hint = refused(offered, await alice.offer(*offered))
            in_all += again
            hints.append(hint)
            quarantined = await stage.operate("/conversations/quarantined")
            bystanders = [envelope(*others, conversationId="theirs") for _ in range(20)]
            assert {ack["type"] for ack in await carol.offer(*bystanders)} == {"ksmpv3.send.ack"}
            if seconds < 16:
                await trio.sleep(hint)

        (one,) = quarantined["quarantined"]
        assert (quarantined["total"], one["times"]) == (1, 3)
        assert 0 < one["seconds"] <= 16
        assert 0 < hints[0] <= 1.001 < hints[1] <= 4.001 < hints[2] <= 16.001
        early, hint = refused(in_all[:1], await alice.offer(in_all[0]))
        assert (len(early), hint <= 16.001) == (1, True)

        await trio.to_thread.run_sync(stage.lab.clear)
        path = f"/conversations/{one['conversation']}/release"
        assert await stage.operate(path, "POST") == {"released": True}
        assert (await stage.operate("/conversations/quarantined"))["total"] == 0
        acks = await alice.offer(*in_all)
        assert [ack["serverSeq"] for ack in acks] == list(range(4, 4 + len(in_all)))
        delivered = await bob.frames(3 + len(in_all))
        assert [frame["serverSeq"] for frame in delivered] == list(range(1, 4 + len(in_all)))
        await dave.frames(60)
    await stage.read_everything(ALICE, BOB, *others)

    told = [line["seconds"] for line in lines(stage.lab.relay, "actor.quarantined")]
    assert told == [1, 4, 16]
    metrics = await trio.to_thread.run_sync(stage.lab.operator.metrics)
    assert metrics["ksmp_quarantines_total"] == 3
    assert metrics['ksmp_failures_total{kind="conversation"}'] == 18
    assert 'ksmp_failures_total{kind="router"}' not in metrics


@pytest.mark.rule("S12", "S13", "S16")
async def test_poisoned_letters_are_rejected_and_listed_without_content_and_the_rest_is_stored(
    stage: Stage,
) -> None:
    async with stage.party(ALICE) as alice, stage.party(BOB) as bob:
        await bob.read()
        first = sealed()
        assert [ack["serverSeq"] for ack in await alice.offer(first)] == [1]
        await stage.order("number", "raise", keys=POISON)
        offered = [
            sealed(idempotencyKey=f"{POISON}-{n}") if n % 3 == 1 else sealed() for n in range(24)
        ]
        answers = await alice.offer(*offered)
        good = [one["idempotencyKey"] for n, one in enumerate(offered) if n % 3 != 1]
        good = [first["idempotencyKey"], *good]
        delivered = await bob.frames(len(good))
        dead = await trio.to_thread.run_sync(lambda: stage.lab.operator.look("/dead-letters"))
        quarantined = await stage.operate("/conversations/quarantined")
    await stage.read_everything(ALICE, BOB)

    assert Counter(answer.get("code", "acked") for answer in answers) == {
        "rejected": 8,
        "acked": 16,
    }
    assert all(answer["code"] == "rejected" for answer in answers[1::3])
    assert [frame["idempotencyKey"] for frame in delivered] == good
    assert [frame["serverSeq"] for frame in delivered] == list(range(1, 18))
    assert quarantined["total"] == 0
    assert dead.json["total"] == len(dead.json["latest"]) == 8
    hashes = {line["conversation"] for line in lines(stage.lab.relay, "letter.dead")}
    assert {one["conversation"] for one in dead.json["latest"]} == hashes
    for one in dead.json["latest"]:
        assert set(one) == {"at_ms", "kind", "conversation", "error", "at"}
        assert (one["kind"], one["error"]) == ("SendLetter", "OrderedFaultError")
    assert found_in(dead.body, CANARIES) == []
