"""However many conversations fail on and on, all others go on, and so does a drain."""

from __future__ import annotations

from collections import Counter

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors.conversation import Conversation
from actors.letters import Letter, SendLetter
from actors.router import Router
from actors.supervisor import Backoff, Intensity, IntensityExceededError
from ksmp.events import Error, Send, SendAck
from storage.log import ConversationHead
from tests.actors.fake_transport import FakeTransport
from tests.actors.peers import ConnectedWorld
from tests.actors.saboteur import Planted
from tests.actors.world import (
    KEY,
    Client,
    World,
    all_answered,
    envelope,
    numbers,
    send_letter,
    until_one_has_failed,
)

VICTIMS = 1_000


@pytest.fixture
def victims(monkeypatch: pytest.MonkeyPatch) -> None:
    """No conversation whose name begins with `victim` can start."""
    read_head = Conversation._read_head

    async def crash(self: Conversation) -> ConversationHead:
        if self._key.conversation_id.startswith("victim"):
            await trio.lowlevel.checkpoint()
            raise Planted
        return await read_head(self)

    monkeypatch.setattr(Conversation, "_read_head", crash)


@pytest.mark.rule("S18", "S30", "S31")
@pytest.mark.usefixtures("victims")
async def test_while_a_thousand_conversations_crash_on_and_on_another_is_served_at_once(
    autojump_clock: MockClock,
) -> None:
    world, client, latencies = World(), Client(), []
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        for second in range(10):
            for n in range(VICTIMS):
                letter = send_letter(client, f"key-{second}", conversation=f"victim-{n}")
                world.router.route(letter.conversation, letter)
            for n in range(50):  # while they crash
                letter = send_letter(client, f"key-{second}-{n}")
                world.route(letter)
                began = trio.current_time()
                await all_answered([letter])
                latencies.append(trio.current_time() - began)
            await trio.sleep(1.0)
        nursery.cancel_scope.cancel()

    failed = Counter(
        fields["kind"] for event, fields in world.telemetry.events if event == "actor.failed"
    )
    quarantined = world.telemetry.count("actor.quarantined")
    assert max(latencies) <= 0.011, "one look of who waits, on the mock clock"
    assert len(world.log.records[KEY]) == 500
    assert set(failed) == {"conversation"}, "none of that is the router's failure"
    assert quarantined == 3 * VICTIMS, "at 0 s, after 1 s, after 4 s more"
    assert failed["conversation"] == quarantined * (Intensity().restarts + 1)


@pytest.mark.rule("S7")
async def test_an_incarnation_takes_nothing_before_all_its_predecessor_handed_over_has_settled(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = Conversation._append
    world, client = World(), Client()
    handed_over, waiting = send_letter(client, "handed-over"), send_letter(client, "waiting")
    seen: list[tuple[str, bool]] = []

    async def dying(self: Conversation, letters: list[SendLetter]) -> list[SendLetter]:
        seen.append((letters[0].envelope.idempotency_key, handed_over.is_open))
        if len(seen) > 1:
            return await append(self, letters)
        world.log.is_held = True
        with trio.move_on_after(0):  # handed over, and then no patience to wait
            await append(self, letters)
        raise Planted

    monkeypatch.setattr(Conversation, "_append", dying)
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        world.route(handed_over)
        await wait_all_tasks_blocked()
        world.route(waiting)
        await trio.sleep(5.0)
        assert seen == [("handed-over", True)]
        world.log.release()
        await all_answered([handed_over, waiting])
        nursery.cancel_scope.cancel()

    assert seen == [("handed-over", True), ("waiting", False)]
    assert numbers(client, [handed_over, waiting]) == [1, 2]


@pytest.mark.rule("S3")
async def test_a_conversation_stopped_while_it_waits_for_its_restart_keeps_its_letters(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its supervisor is cancelled by the fall of the router; the next router takes them on."""
    turn = Conversation._turn
    is_broken = True

    async def failing(self: Conversation, letters: list[Letter]) -> None:
        if is_broken:
            raise Planted
        await turn(self, letters)

    def sweep(self: Router) -> None:
        nonlocal is_broken
        if is_broken:
            is_broken = False
            raise Planted

    monkeypatch.setattr(Conversation, "_turn", failing)
    monkeypatch.setattr(Router, "_sweep", sweep)
    monkeypatch.setattr(
        Backoff, "delay", lambda _self, failures, _jitter: 900.0 if failures else 0.0
    )
    world, client = World(), Client()
    letters = [send_letter(client, f"key-{n}") for n in range(5)]
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        world.route(*letters[:3])
        await trio.sleep(0.5)
        assert world.telemetry.count("actor.failed") == 1
        world.route(*letters[3:])
        await trio.sleep(2_000.0)
        nursery.cancel_scope.cancel()

    assert numbers(client, letters) == [1, 2, 3, 4, 5]
    assert world.telemetry.count("letter.dead") == 0


@pytest.mark.rule("S34")
async def test_a_router_that_fails_for_the_sixth_time_in_ten_seconds_reaches_its_parent(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweeps = 0

    def failing(self: Router) -> None:
        nonlocal sweeps
        sweeps += 1
        raise Planted

    monkeypatch.setattr(Router, "_sweep", failing)
    world = World()
    with pytest.raises(ExceptionGroup) as escalated:
        async with trio.open_nursery() as nursery:
            await world.start(nursery)
            await trio.sleep(60.0)
            nursery.cancel_scope.cancel()

    assert escalated.group_contains(IntensityExceededError, match="router")
    assert sweeps == 6


@pytest.mark.rule("S43")
async def test_a_drain_waits_for_a_conversation_that_crashes_on_and_on_until_its_quarantine(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, victims: None
) -> None:
    world = ConnectedWorld()
    offered = [Send(envelope("a", conversation="victim-1")), Send(envelope("b"))]
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        transport = FakeTransport()
        alice = await world.connect(nursery, transport=transport)
        transport.arrive(*map(alice.codec.encode, offered))
        await until_one_has_failed(world)
        began = trio.current_time()
        await alice.connection.drain(1_000)
        seconds = trio.current_time() - began
        await alice.has_ended.wait()
        nursery.cancel_scope.cancel()

    refused = {error.code for error in alice.heard_of(Error)}
    assert refused == {"draining", "conversation_unavailable"}
    assert [ack.server_seq for ack in alice.heard_of(SendAck)] == [1]
    assert 0 < seconds < 1.0
    assert transport.close_code == 1001
