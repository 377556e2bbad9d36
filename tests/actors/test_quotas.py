"""Too much stored, too many conversations begun: refused, and nothing else suffers."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from actors.letters import SendLetter
from actors.limits import Limits
from actors.openings import PERIOD_SECONDS, Openings
from ksmp.errors import error
from ksmp.events import SendAck, ServerEvent
from ksmp.types import ConversationKey, UserId
from storage.log import Append, NewRecord
from tests.actors.world import (
    ALICE,
    BOB,
    Client,
    World,
    all_answered,
    envelope,
    key_of,
    numbers,
    send_letter,
)

HOUR_MS = 3_600_000


def refused(letter: SendLetter, retry_after_ms: int) -> ServerEvent:
    return error("quota_exceeded", letter.about(), retry_after_ms=retry_after_ms)


def opening(client: Client, conversation: str, key: str = "key-1") -> SendLetter:
    """A send of Alice's that is the first of its conversation, unless that has begun."""
    return send_letter(client, key, conversation=conversation)


def of_bob(client: Client, conversation: str, key: str = "bob-1") -> SendLetter:
    sealed = envelope(key, sender=BOB, recipient=ALICE, conversation=conversation)
    return SendLetter(sealed, client, 100)


async def one_by_one(world: World, *letters: SendLetter) -> None:
    """Route each letter when the one before it has its answer."""
    for letter in letters:
        await sent(world, letter)


async def sent(world: World, *letters: SendLetter) -> None:
    """Route letters in one step and wait until each has its answer."""
    world.route(*letters)
    await all_answered([*letters])


# ── too much stored ──────────────────────────────────────────────────────────────────────────


async def test_what_is_over_quota_is_refused_and_what_came_with_it_is_stored_in_order(
    autojump_clock: MockClock,
) -> None:
    world, client = World(), Client()
    letters = [send_letter(client, f"key-{n}") for n in range(5)]
    world.log.too_much = {"key-0", "key-3"}
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        await sent(world, *letters)
        world.log.too_much = set()
        again = send_letter(client, "key-3")
        await sent(world, again)
        nursery.cancel_scope.cancel()

    assert [client.to(letters[n]) for n in (0, 3)] == [
        [refused(letters[n], 60_000)] for n in (0, 3)
    ]
    assert numbers(client, [letters[1], letters[2], letters[4], again]) == [1, 2, 3, 4]


async def test_a_repeat_of_what_is_over_quota_is_judged_anew(autojump_clock: MockClock) -> None:
    world, client = World(), Client()
    letters = [send_letter(client, "key-1"), send_letter(client, "key-1")]
    world.log.too_much = {"key-1"}
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        await sent(world, *letters)
        nursery.cancel_scope.cancel()

    assert [client.to(letter) for letter in letters] == [[refused(letters[0], 60_000)]] * 2


async def test_a_known_key_is_answered_beside_a_send_that_is_over_quota(
    autojump_clock: MockClock,
) -> None:
    world, client = World(), Client()
    first, again, too_much = (send_letter(client, key) for key in ("key-1", "key-1", "key-2"))
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        await sent(world, first)
        world.log.too_much = {"key-1", "key-2"}
        await sent(world, too_much, again)
        nursery.cancel_scope.cancel()

    assert client.to(again) == client.to(first)
    assert client.to(too_much) == [refused(too_much, 60_000)]


# ── too many conversations begun ─────────────────────────────────────────────────────────────


async def test_as_many_conversations_as_the_limit_are_begun_and_the_next_when_the_hint_says(
    autojump_clock: MockClock,
) -> None:
    world, client = World(Limits(new_conversations_per_hour=3)), Client()
    letters = [opening(client, f"talk-{n}") for n in range(4)]
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        for letter in letters:
            await sent(world, letter)
            await trio.sleep(100)
        (refusal,) = client.to(letters[3])
        hint = getattr(refusal, "retry_after_ms", 0)
        # It was told 100 s ago; letters are answered within a hundredth of a second.
        await trio.sleep(hint / 1_000 - 100 - 0.1)
        too_early, in_time = opening(client, "talk-3"), opening(client, "talk-3")
        await sent(world, too_early)
        await trio.sleep(0.2)
        await sent(world, in_time)
        nursery.cancel_scope.cancel()

    assert HOUR_MS - 301_000 < hint < HOUR_MS - 299_000
    assert numbers(client, letters[:3]) == [1, 1, 1]
    assert len(client.to(too_early)) == 1
    assert not isinstance(client.to(too_early)[0], SendAck)
    assert numbers(client, [in_time]) == [1]


async def test_over_the_limit_existing_conversations_and_other_people_go_on(
    autojump_clock: MockClock,
) -> None:
    world, client = World(Limits(new_conversations_per_hour=1)), Client()
    first, over = opening(client, "talk"), opening(client, "other")
    more = [opening(client, "talk", "key-2"), opening(client, "talk")]
    theirs = of_bob(client, "other")
    joined = opening(client, "other", "key-9")
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        await one_by_one(world, first, over, *more, theirs, joined)
        nursery.cancel_scope.cancel()

    assert "quota_exceeded" in repr(client.to(over))
    assert numbers(client, [first, *more, theirs, joined]) == [1, 2, 1, 1, 2]
    assert client.to(more[1]) == client.to(first), "a retry gets the same answer"


async def test_of_letters_that_wait_together_the_first_that_may_begin_does(
    autojump_clock: MockClock,
) -> None:
    world, client = World(Limits(new_conversations_per_hour=1)), Client()
    letters = [
        opening(client, "other", "key-1"),
        of_bob(client, "other"),
        opening(client, "other", "key-2"),
    ]
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        await sent(world, opening(client, "talk"))
        await sent(world, *letters)
        nursery.cancel_scope.cancel()

    assert "quota_exceeded" in repr(client.to(letters[0]))
    assert numbers(client, letters[1:]) == [1, 2]


@pytest.mark.parametrize("why", ["full", "over quota"])
async def test_a_first_record_that_is_not_stored_does_not_count(
    autojump_clock: MockClock, why: str
) -> None:
    world, client = World(Limits(new_conversations_per_hour=1)), Client()
    in_vain = [opening(client, f"vain-{n}") for n in range(5)]
    first, second = opening(client, "talk"), opening(client, "other")
    world.log.is_full = why == "full"
    world.log.too_much = {"key-1"} if why == "over quota" else set()
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        await one_by_one(world, *in_vain)
        world.log.is_full, world.log.too_much = False, set()
        await one_by_one(world, first, second)
        nursery.cancel_scope.cancel()

    assert numbers(client, in_vain) == []
    assert numbers(client, [first]) == [1]
    assert "quota_exceeded" in repr(client.to(second))


async def test_whoever_is_overtaken_by_another_first_record_has_begun_nothing(
    autojump_clock: MockClock,
) -> None:
    world, client = World(Limits(new_conversations_per_hour=1)), Client()
    in_vain = opening(client, "talk", "key-1")
    overtaken, later = opening(client, "talk", "key-2"), opening(client, "other")
    world.log.too_much = {"key-1"}
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        await sent(world, in_vain)  # now the actor of `talk` believes that nothing is stored
        world.log.commit(append_of(world, key_of("talk")))
        world.log.too_much = set()
        await one_by_one(world, overtaken, later)
        nursery.cancel_scope.cancel()

    assert numbers(client, [overtaken, later]) == [2, 1]


def append_of(world: World, key: ConversationKey) -> Append:
    """A first record that some other writer commits."""
    record = NewRecord(
        1,  # type: ignore[arg-type]
        1,  # type: ignore[arg-type]
        BOB,
        "elsewhere",  # type: ignore[arg-type]
        bytes(32),
        bytes(32),
        b"",
    )
    return Append(key, world.log.head(key).server_seq, [record])


async def test_adopted_limits_judge_what_was_counted_before(autojump_clock: MockClock) -> None:
    world, client = World(Limits(new_conversations_per_hour=1)), Client()
    letters = [opening(client, f"talk-{n}") for n in range(4)]
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        await one_by_one(world, *letters[:2])
        world.router.adopt(Limits(new_conversations_per_hour=2))
        await one_by_one(world, *letters[2:])
        nursery.cancel_scope.cancel()

    answers = [isinstance(client.to(letter)[0], SendAck) for letter in letters]
    assert answers == [True, False, True, False]


async def test_what_is_remembered_of_users_is_forgotten_when_an_hour_has_passed(
    autojump_clock: MockClock,
) -> None:
    openings = Openings(Limits())
    for hour in range(3):
        for n in range(5_000):
            openings.count(UserId(f"user-{hour}-{n}"))
        await trio.sleep(PERIOD_SECONDS)

    assert openings.remembered_users <= 10_000
    assert openings.wait(UserId("user-2-0")) == 0.0
