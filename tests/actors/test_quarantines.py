"""What is remembered of quarantines, for how long, and what those who write into one hear."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors import quarantines
from actors.conversation import Conversation
from actors.letters import Letter, SendLetter
from actors.limits import Limits
from actors.quarantines import MOST_QUARANTINES, Quarantines
from actors.supervisor import Backoff, Intensity
from ksmp.events import Error
from storage.log import ConversationHead
from tests.actors.saboteur import Planted
from tests.actors.world import (
    KEY,
    Client,
    World,
    all_answered,
    key_of,
    numbers,
    send_letter,
)


async def crash(_: Conversation) -> ConversationHead:
    await trio.lowlevel.checkpoint()
    raise Planted


def refusal(client: Client, letter: Letter) -> tuple[str, int]:
    """The code and the hint of the one answer to a letter that was refused."""
    (answer,) = client.to(letter)
    assert isinstance(answer, Error)
    assert isinstance(answer.retry_after_ms, int)
    return answer.code, answer.retry_after_ms


@pytest.mark.rule("S23")
async def test_letters_in_the_mailbox_are_told_how_long_the_quarantine_is(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Conversation, "_read_head", crash)
    world, client = World(intensity=Intensity(1, 60.0)), Client()
    hints = []
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        for _ in range(3):
            letters = [send_letter(client, f"key-{n}") for n in range(4)]
            world.route(*letters)
            await all_answered([*letters])
            hints.append({refusal(client, letter) for letter in letters})
            await trio.sleep(quarantines.LONGEST_SECONDS / 10)
        nursery.cancel_scope.cancel()

    assert hints == [{("conversation_unavailable", 1 + ms)} for ms in (1_000, 4_000, 16_000)]


async def test_whoever_has_many_letters_in_a_quarantined_mailbox_is_written_to_once(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a full mailbox would cost as many system calls as it has letters."""

    class Postbox(Client):
        deliveries = 0

        def deliver(self) -> None:
            self.deliveries += 1

    monkeypatch.setattr(Conversation, "_read_head", crash)
    world, alice, bob = World(intensity=Intensity(0)), Postbox(), Postbox()
    letters = [send_letter((alice, bob)[n % 2], f"key-{n}") for n in range(1_000)]
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        world.route(*letters)
        await all_answered([*letters])
        nursery.cancel_scope.cancel()

    assert (len(alice.answers), len(bob.answers)) == (500, 500)
    assert (alice.deliveries, bob.deliveries) == (1, 1)


@pytest.mark.rule("S24")
async def test_a_letter_whose_append_fails_in_the_quarantine_is_told_what_is_left_of_it(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = Conversation._append
    world, client = World(intensity=Intensity(0)), Client()
    letter = send_letter(client)

    async def dying(self: Conversation, letters: list[SendLetter]) -> list[SendLetter]:
        world.log.is_held = True
        with trio.move_on_after(0):  # handed over, and then no patience to wait
            await append(self, letters)
        raise Planted

    monkeypatch.setattr(Conversation, "_append", dying)
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        world.router._quarantines.begin(KEY)
        world.router._quarantines.begin(KEY)
        await trio.sleep(quarantines.GROWTH + 1.0)
        world.route(letter)
        await wait_all_tasks_blocked()
        assert (world.telemetry.count("actor.quarantined"), letter.is_open) == (1, True)
        await trio.sleep(6.0)
        world.log.is_full = True
        world.log.release()
        await all_answered([letter])
        nursery.cancel_scope.cancel()

    code, hint = refusal(client, letter)
    assert code == "conversation_unavailable"
    assert hint == pytest.approx(10_000, abs=20), "6 of the 16 seconds are over"


@pytest.mark.rule("S20")
async def test_a_quarantine_grows_on_through_passivation_and_activation(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = Limits(conversation_idle_seconds=2.0)
    world, client = World(limits, intensity=Intensity(0)), Client()
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        for n in range(3):
            victim, good = send_letter(client, f"victim-{n}"), send_letter(client, f"good-{n}")
            with monkeypatch.context() as sabotage:
                sabotage.setattr(Conversation, "_read_head", crash)
                world.route(victim)
                await all_answered([victim])
            await trio.sleep(20.0)
            world.route(good)
            await all_answered([good])
            await trio.sleep(5.0)
            assert world.router.live_conversations == 0
        nursery.cancel_scope.cancel()

    told = [fields for event, fields in world.telemetry.events if event == "actor.quarantined"]
    assert [fields["seconds"] for fields in told] == [1.0, 4.0, 16.0]
    assert world.telemetry.count("conversation.passivated") == 3


@pytest.mark.rule("S29")
async def test_a_conversation_that_comes_back_from_passivation_has_no_failures_to_its_account(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn = Conversation._turn

    async def failing_at_first(self: Conversation, letters: list[Letter]) -> None:
        if self._mailbox not in failed:
            failed.append(self._mailbox)
            raise Planted
        await turn(self, letters)

    failed: list[object] = []
    monkeypatch.setattr(Conversation, "_turn", failing_at_first)
    limits = Limits(conversation_idle_seconds=2.0)
    world, client = World(limits, intensity=Intensity(1, 1_000.0)), Client()
    letters = [send_letter(client, f"key-{n}") for n in range(4)]
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        for letter in letters:
            world.route(letter)
            await all_answered([letter])
            await trio.sleep(5.0)
        nursery.cancel_scope.cancel()

    assert world.telemetry.count("actor.failed") == 4
    assert world.telemetry.count("actor.quarantined") == 0
    assert numbers(client, letters) == [1, 2, 3, 4]


@pytest.mark.rule("S28")
async def test_a_conversation_that_waits_for_its_restart_is_not_passivated(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn = Conversation._turn
    failures = 0

    async def failing_once(self: Conversation, letters: list[Letter]) -> None:
        nonlocal failures
        failures += 1
        if failures == 1:
            raise Planted
        await turn(self, letters)

    monkeypatch.setattr(Conversation, "_turn", failing_once)
    monkeypatch.setattr(Backoff, "delay", lambda *_: 100.0)
    limits = Limits(conversation_idle_seconds=2.0, live_conversations=1)
    world, client = World(limits), Client()
    letters = [send_letter(client, "first"), send_letter(client, "second")]
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        world.route(*letters)
        await trio.sleep(50.0)
        assert [letter.is_open for letter in letters] == [True, True]
        assert world.router.live_conversations == 1
        await all_answered([*letters])
        nursery.cancel_scope.cancel()

    assert world.telemetry.count("conversation.activated") == 1
    assert numbers(client, letters) == [1, 2]


@pytest.mark.rule("S27")
async def test_so_many_quarantines_are_remembered_and_the_oldest_goes_free(  # noqa: ASYNC124
    autojump_clock: MockClock,
) -> None:
    table = Quarantines()
    for n in range(MOST_QUARANTINES):
        table.begin(key_of(f"talk-{n}"))
    table.begin(key_of("talk-0"))  # not the oldest any more
    table.begin(key_of("one-more"))

    assert len(table) == MOST_QUARANTINES
    assert table.seconds_left(key_of("talk-1")) == 0
    assert table.seconds_left(key_of("talk-0")) == 4.0
    assert [one.key for one in table.present][-2:] == [key_of("talk-0"), key_of("one-more")]


async def test_what_is_released_or_over_for_long_is_forgotten(autojump_clock: MockClock) -> None:
    table = Quarantines()
    table.begin(KEY)
    was_left_alone = table.end(KEY)
    times = [table.begin(KEY).times]
    await trio.sleep(quarantines.FORGOTTEN_AFTER_SECONDS)
    table.forget_the_old()
    times.append(table.begin(KEY).times)
    await trio.sleep(4.0 + quarantines.FORGOTTEN_AFTER_SECONDS + 0.1)
    table.forget_the_old()

    assert was_left_alone
    assert times == [1, 2]
    assert (len(table), table.end(KEY)) == (0, False)
