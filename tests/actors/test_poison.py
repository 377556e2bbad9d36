"""A letter that crashes its conversation is found, and costs its neighbours little."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors.conversation import Conversation
from actors.letters import Letter, SendLetter
from actors.supervisor import Intensity
from ksmp.codec import encode_recorded
from ksmp.events import Envelope, Error
from ksmp.types import ServerSeq, TimeMs
from storage.log import Append, ConversationHead
from tests.actors.memory_log import MemoryLog
from tests.actors.saboteur import Planted
from tests.actors.world import (
    KEY,
    Client,
    World,
    all_answered,
    numbers,
    send_letter,
    until_one_has_failed,
)

POISON = b"poison"


@pytest.fixture(autouse=True)
def poison(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever encodes a record with this text raises."""

    def poisoned(envelope: Envelope, seq: ServerSeq, at: TimeMs) -> bytes:
        if envelope.ciphertext == POISON:
            raise Planted
        return encode_recorded(envelope, seq, at)

    monkeypatch.setattr("actors.conversation.encode_recorded", poisoned)


class CountingLog(MemoryLog):
    """Knows how many appends it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.appends: list[int] = []

    def _append(self, append: Append) -> object:  # type: ignore[override]
        self.appends.append(len(append.records))
        return super()._append(append)


def letters_of(client: Client, pattern: str) -> list[SendLetter]:
    """A letter for each sign: `p` for poison, anything else for a good one."""
    return [
        send_letter(client, f"{sign}-{n}", text=POISON if sign == "p" else b"sealed")
        for n, sign in enumerate(pattern)
    ]


def codes(client: Client, letters: Sequence[Letter]) -> list[str]:
    """What each letter was told, once: the code of its error, or `ok`."""
    return [
        answer.code if isinstance(answer, Error) else "ok"
        for letter in letters
        for answer in client.to(letter)
    ]


async def outcome_of(world: World, client: Client, letters: Sequence[SendLetter]) -> list[str]:
    """What became of letters that were put into one mailbox in one step."""
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        world.route(*letters)
        await all_answered([*letters])
        nursery.cancel_scope.cancel()
    return codes(client, letters)


@pytest.mark.rule("S11", "S12")
async def test_one_poison_letter_among_63_good_ones_costs_them_two_restarts_and_one_more_append(
    autojump_clock: MockClock,
) -> None:
    world, client = World(log=CountingLog()), Client()
    letters = letters_of(client, "g" * 32 + "p" + "g" * 31)

    told = await outcome_of(world, client, letters)

    assert told == ["ok"] * 32 + ["rejected"] + ["ok"] * 31
    good = [letter for letter in letters if letter.envelope.ciphertext != POISON]
    assert numbers(client, good) == list(range(1, 64))
    assert isinstance(world.log, CountingLog)
    assert world.log.appends == [32, 31]
    assert world.telemetry.count("actor.restarted") == 2


@pytest.mark.rule("S11")
async def test_where_nothing_tells_at_which_letter_a_turn_crashed_each_is_taken_alone(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn = Conversation._turn
    batches: list[int] = []

    async def failing_at_first(self: Conversation, letters: Sequence[Letter]) -> None:
        batches.append(len(letters))
        if len(batches) == 1:
            raise Planted
        await turn(self, letters)

    monkeypatch.setattr(Conversation, "_turn", failing_at_first)
    world, client = World(), Client()

    told = await outcome_of(world, client, letters_of(client, "ggggg"))

    assert told == ["ok"] * 5
    assert batches == [5, 1, 1, 1, 1, 1]


@pytest.mark.rule("S13")
@pytest.mark.parametrize("pattern", ["gp" * 40, "pg" * 40, "ppg" * 20])
async def test_poison_among_good_letters_never_puts_the_conversation_into_quarantine(
    autojump_clock: MockClock, pattern: str
) -> None:
    world, client = World(), Client()
    letters = letters_of(client, pattern)

    told = await outcome_of(world, client, letters)

    assert told == ["rejected" if sign == "p" else "ok" for sign in pattern]
    assert world.telemetry.count("actor.quarantined") == 0
    assert world.telemetry.count("letter.dead") == pattern.count("p")
    good = [letter for letter in letters if letter.envelope.ciphertext != POISON]
    assert numbers(client, good) == list(range(1, len(good) + 1))


@pytest.mark.rule("S13")
async def test_a_good_letter_that_comes_later_clears_a_conversation_as_well(
    autojump_clock: MockClock,
) -> None:
    world, client = World(intensity=Intensity(3, 1_000.0)), Client()
    letters = letters_of(client, "g" + "pg" * 6)
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        for letter in letters:
            world.route(letter)
            await all_answered([letter])
        nursery.cancel_scope.cancel()

    assert codes(client, letters) == ["ok"] + ["rejected", "ok"] * 6
    assert world.telemetry.count("actor.quarantined") == 0


@pytest.mark.rule("S13")
async def test_what_is_forgiven_still_slows_the_restarts(autojump_clock: MockClock) -> None:
    """Or whoever knows a poison could have the loop do nothing but restart."""
    world, client = World(), Client()
    pairs = 60
    began = trio.current_time()

    await outcome_of(world, client, letters_of(client, "pg" * pairs))

    seconds = trio.current_time() - began
    restarts = world.telemetry.count("actor.restarted")
    assert restarts == 2 * pairs
    assert restarts <= 10 + 2 * seconds


@pytest.mark.rule("S14")
async def test_poison_without_a_good_letter_is_buried_in_rounds_and_then_it_is_over(
    autojump_clock: MockClock,
) -> None:
    """The client offers again whatever may be offered again, as late as it is told."""
    world, client = World(), Client()
    letters = letters_of(client, "p" * 12 + "ggg")
    waiting, told, rounds = letters, dict[str, str](), 0
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        while waiting:
            rounds += 1
            world.route(*waiting)
            await all_answered([*waiting])
            again, wait = [], 0.0
            for letter in waiting:
                (answer,) = client.to(letter)
                told[letter.envelope.idempotency_key] = getattr(answer, "code", "ok")
                if isinstance(answer, Error) and answer.retryable:
                    wait = max(wait, float(answer.retry_after_ms or 0) / 1_000)
                    again.append(SendLetter(letter.envelope, client, letter.size))
            waiting = again
            await trio.sleep(wait)
        nursery.cancel_scope.cancel()

    assert list(told.values()) == ["rejected"] * 12 + ["ok"] * 3
    assert world.telemetry.count("actor.quarantined") == rounds - 1
    assert 1 < rounds <= 1 + 12 / 3
    assert [record.server_seq for record in world.log.records[KEY]] == [1, 2, 3]


@pytest.mark.rule("S12")
async def test_a_letter_that_crashed_alone_is_dead_though_a_quarantine_follows(
    autojump_clock: MockClock,
) -> None:
    world, client = World(intensity=Intensity(1, 60.0)), Client()

    told = await outcome_of(world, client, letters_of(client, "pg"))

    assert told == ["rejected", "conversation_unavailable"]
    assert world.telemetry.count("actor.quarantined") == 1
    assert world.router.dead_letters.total == 1


@pytest.mark.rule("S17")
async def test_a_dead_letter_keeps_what_its_own_turn_raised_whatever_failed_since(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_head = Conversation._read_head
    heads = 0

    async def failing_once(self: Conversation) -> ConversationHead:
        nonlocal heads
        heads += 1
        if heads == 3:  # between the letter's own crash and its burial
            raise ZeroDivisionError
        return await read_head(self)

    monkeypatch.setattr(Conversation, "_read_head", failing_once)
    world, client = World(), Client()

    told = await outcome_of(world, client, letters_of(client, "pg"))

    assert told == ["rejected", "ok"]
    assert heads == 4
    (dead,) = world.router.dead_letters.latest
    assert (dead.error, dead.at.rpartition(" ")[2]) == ("Planted", "poisoned")


@pytest.mark.rule("S8")
async def test_what_a_crash_left_is_numbered_in_its_order_and_before_what_waits(
    autojump_clock: MockClock,
) -> None:
    world, client = World(), Client()
    in_hand = letters_of(client, "abcpdef")
    waiting = letters_of(client, "uvwxyz")
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        world.log.is_held = True
        world.route(*in_hand)
        await wait_all_tasks_blocked()  # the head is being read
        world.log.release()
        await until_one_has_failed(world)
        world.route(*waiting)
        await all_answered([*in_hand, *waiting])
        nursery.cancel_scope.cancel()

    stored = [record.idempotency_key for record in world.log.records[KEY]]
    offered = [letter.envelope.idempotency_key for letter in in_hand + waiting]
    assert stored == [key for key in offered if not key.startswith("p")]
