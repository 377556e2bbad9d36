"""What an operator can see of conversations that fail, and do about them."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from actors.conversation import Conversation
from actors.dead_letters import DEAD_LETTERS, DeadLetter, DeadLetters
from actors.letters import Letter, SendLetter
from actors.supervisor import Intensity
from actors.telemetry import hashed_conversation
from ksmp.events import SendAck
from ksmp.types import TimeMs
from tests.actors.world import Client, Sender, World, all_answered, key_of, send_letter

TALK = key_of("talk")


class Planted(Exception):
    """What a test makes a turn raise."""


@pytest.fixture
def poison(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever turn holds a letter of the text `poison` raises."""
    turn = Conversation._turn

    async def poisoned(self: Conversation, letters: list[Letter]) -> None:
        for letter in letters:
            if isinstance(letter, SendLetter) and letter.envelope.ciphertext == b"poison":
                raise Planted("poison")
        await turn(self, letters)

    monkeypatch.setattr(Conversation, "_turn", poisoned)


@pytest.mark.rule("S16")
@pytest.mark.trio
async def test_a_dead_letter_is_remembered_with_what_it_raised_and_nothing_it_said(
    autojump_clock: MockClock, poison: None
) -> None:
    world, client = World(), Client()
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        letters: list[Letter] = [
            send_letter(client, "good"),
            send_letter(client, "bad", text=b"poison"),
        ]
        world.route(*letters)
        await all_answered(letters)
        nursery.cancel_scope.cancel()

    (dead,) = world.router.dead_letters.latest
    assert world.router.dead_letters.total == 1
    assert (dead.kind, dead.error) == ("SendLetter", "Planted")
    assert dead.at.endswith("poisoned")
    assert dead.conversation == hashed_conversation(TALK)
    assert "poison" not in repr(dead.conversation) + dead.kind + dead.error
    assert isinstance(client.to(letters[0])[0], SendAck)


@pytest.mark.rule("S15")
def test_only_the_latest_dead_letters_are_remembered_and_all_are_counted() -> None:
    letters = DeadLetters()
    for number in range(DEAD_LETTERS + 5):
        letters.add(DeadLetter(TimeMs(number), "SendLetter", hashed_conversation(TALK)))

    assert letters.total == DEAD_LETTERS + 5
    assert [one.at_ms for one in letters.latest] == list(range(5, DEAD_LETTERS + 5))


@pytest.mark.rule("S26")
@pytest.mark.trio
async def test_a_conversation_released_by_hand_lives_at_once_as_if_it_had_never_failed(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_head = Conversation._read_head
    is_broken = True

    async def crashing(self: Conversation) -> object:
        if is_broken:
            raise Planted
        return await read_head(self)

    monkeypatch.setattr(Conversation, "_read_head", crashing)
    world, client = World(intensity=Intensity(1, 60.0)), Client()
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        assert not world.router.end_quarantine(TALK)
        victim = send_letter(client, "victim")
        world.route(victim)
        await all_answered([victim])
        (quarantined,) = world.router.quarantined
        assert (quarantined.key, quarantined.times) == (TALK, 1)
        assert 0 < quarantined.seconds <= 1.0
        assert world.router.route(TALK, send_letter(client, "early")) is not None

        is_broken = False
        assert world.router.end_quarantine(TALK)
        assert world.router.quarantined == ()
        healed = send_letter(client, "healed")
        world.route(healed)
        await all_answered([healed])
        nursery.cancel_scope.cancel()

    assert isinstance(client.to(healed)[0], SendAck)


@pytest.mark.trio
async def test_the_router_knows_what_is_under_way_and_the_deepest_mailbox_there_was(
    autojump_clock: MockClock,
) -> None:
    world = World()

    client = Sender(world.router)
    letters: list[Letter] = [send_letter(client, f"key-{n}") for n in range(7)]
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        world.route(*letters)
        assert (world.router.under_way, world.router.deepest_mailbox) == (7, 7)
        await all_answered(letters)
        nursery.cancel_scope.cancel()

    assert (world.router.under_way, world.router.deepest_mailbox) == (0, 7)
