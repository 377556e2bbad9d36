"""A conversation that fails is quarantined alone, and a router that fails loses no letter."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors.conversation import Conversation
from actors.letters import Letter
from actors.quarantines import FORGOTTEN_AFTER_SECONDS
from actors.router import Router
from actors.supervisor import Backoff, Intensity
from storage.log import ConversationHead
from tests.actors.saboteur import Planted
from tests.actors.world import (
    KEY,
    Client,
    Sender,
    World,
    all_answered,
    numbers,
    send_letter,
)

# ── quarantine ───────────────────────────────────────────────────────────────────────────────


async def crash(_: Conversation) -> ConversationHead:
    await trio.lowlevel.checkpoint()
    raise Planted


async def test_what_a_quarantine_answers_is_given_back_too(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Conversation, "_read_head", crash)
    world = World(intensity=Intensity(2, 60.0))
    client = Sender(world.router)
    letters = [send_letter(client, f"key-{n}") for n in range(5)]
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        world.route(*letters)
        await all_answered([*letters])
        nursery.cancel_scope.cancel()

    assert world.router._under_way_bytes == 0


@pytest.mark.rule("S19", "S22")
async def test_a_quarantine_lasts_as_long_as_it_says_and_longer_each_time(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Conversation, "_read_head", crash)
    world, client = World(intensity=Intensity(1, 60.0)), Client()
    waits = []
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        for n in range(8):
            victim = send_letter(client, f"victim-{n}")
            world.route(victim)
            await all_answered([victim])
            refused = world.router.route(KEY, send_letter(client, "refused"))
            assert refused is not None
            assert refused.code == "conversation_unavailable"
            waits.append(refused.retry_after_ms / 1_000)
            await trio.sleep(refused.retry_after_ms / 1_000)
        nursery.cancel_scope.cancel()

    assert waits == pytest.approx([1, 4, 16, 64, 256, 300, 300, 300], abs=0.02)


async def test_a_quarantine_leaves_alone_a_conversation_that_was_activated_meanwhile(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One incarnation answers all, fails, is passivated during its back-off, and fails for good."""
    run = Conversation.run
    incarnations = 0

    async def failing_at_first(self: Conversation) -> None:
        nonlocal incarnations
        incarnations += 1
        if incarnations == 1:
            for letter in await self._mailbox.take():
                letter.refuse("internal")
            raise Planted
        if self._mailbox is first_mailbox:
            raise Planted
        await run(self)

    monkeypatch.setattr(Conversation, "run", failing_at_first)
    monkeypatch.setattr(Backoff, "delay", lambda *_: 10.0)
    world, client = World(intensity=Intensity(1, 60.0)), Client()
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        first = send_letter(client, "first")
        world.route(first)
        live = world.router._live[KEY]
        first_mailbox = live.mailbox
        await all_answered([first])
        assert world.router._passivate(live)
        second = send_letter(client, "second")
        world.route(second)
        await all_answered([second])
        await trio.sleep(20)
        assert world.telemetry.count("actor.quarantined") == 1
        assert world.router.live_conversations == 1
        third = send_letter(client, "third")
        world.route(third)
        await all_answered([third])
        nursery.cancel_scope.cancel()

    assert numbers(client, [second, third]) == [1, 2]


@pytest.mark.rule("S21")
async def test_a_conversation_that_behaved_for_long_is_forgiven(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, client = World(intensity=Intensity(1, 60.0)), Client()
    seconds: list[object] = []
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        for pause in (10.0, 4.0 + FORGOTTEN_AFTER_SECONDS + 2.0, 0.0):
            victim = send_letter(client)
            with monkeypatch.context() as sabotage:
                sabotage.setattr(Conversation, "_read_head", crash)
                world.route(victim)
                await all_answered([victim])
            await trio.sleep(pause)
        nursery.cancel_scope.cancel()

    events = world.telemetry.events
    seconds = [fields["seconds"] for event, fields in events if event == "actor.quarantined"]
    assert seconds == [1.0, 4.0, 1.0]


@pytest.mark.rule("S6", "S24")
async def test_a_quarantined_letter_that_the_log_holds_is_answered_by_its_commit(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = Conversation._append
    world, client = World(intensity=Intensity(0)), Client()
    handed_over, waiting = send_letter(client, "handed-over"), send_letter(client, "waiting")
    may_die = trio.Event()

    async def dying(self: Conversation, letters: list) -> list:
        world.log.is_held = True
        with trio.move_on_after(0):  # handed over, and then no patience to wait
            await append(self, letters)
        await may_die.wait()
        raise Planted

    monkeypatch.setattr(Conversation, "_append", dying)
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        world.route(handed_over)
        await wait_all_tasks_blocked()
        world.route(waiting)
        may_die.set()
        await wait_all_tasks_blocked()
        open_in_quarantine = [letter.is_open for letter in (handed_over, waiting)]
        world.log.release()
        await all_answered([handed_over])
        nursery.cancel_scope.cancel()

    assert open_in_quarantine == [True, False]
    assert numbers(client, [handed_over]) == [1]
    (answer,) = client.to(waiting)
    assert getattr(answer, "code", None) == "conversation_unavailable"


# ── restart ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.rule("S33")
async def test_a_restarted_router_keeps_its_mailboxes_and_takes_letters_all_the_while(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To old and new conversations, at every step of the fall and of the restart."""
    fallen = trio.Event()

    def failing(self: Router) -> None:
        fallen.set()
        raise Planted

    monkeypatch.setattr(Router, "_sweep", failing)
    world, client = World(), Client()
    letters: list[Letter] = []
    async with trio.open_nursery() as nursery:
        await world.start(nursery)

        def write() -> None:
            n = len(letters)
            old = send_letter(client, f"old-{n}")
            new = send_letter(client, f"new-{n}", conversation=f"talk-{n}")
            world.route(old, new)
            letters.extend((old, new))

        for _ in range(3):
            for _ in range(10):
                write()
                await trio.lowlevel.checkpoint()
            await fallen.wait()
            fallen = trio.Event()
            write()
            await trio.sleep(0.002)  # from the second time on the restart takes longer than this
            write()
        await all_answered(letters)
        nursery.cancel_scope.cancel()

    assert world.telemetry.count("actor.restarted") == 3
    assert numbers(client, letters[::2]) == list(range(1, 37))
    assert numbers(client, letters[1::2]) == [1] * 36
