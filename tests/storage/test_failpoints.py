"""An order hits what it chooses, as often as it says, and does what it says; and nothing else."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

import pytest
import trio
from trio.testing import MockClock

from ksmp.types import ConversationKey, IdempotencyKey
from storage.errors import StoreFailedError
from storage.failpoints import (
    Failpoint,
    Failpoints,
    OrderedFaultError,
    Standing,
    World,
    failpoint,
)
from storage.fault_orders import (
    MOST_CONVERSATIONS,
    OF_NO_CONVERSATION,
    Action,
    InvalidOrderError,
    Letter,
    Place,
    decode_order,
)
from storage.log import Appended, Failed, Full, Lost, OpenInbox, ReadHead
from storage.transaction import Writer
from tests.storage.world import PLENTY, Sent, append, base, conversation, head_after, mark, opened

TALK = conversation("ann", "bob", "talk")
OTHER = conversation("ann", "bob", "other")
SELECTOR = {"conversation_id": "talk", "users": ["bob", "ann"]}


class Exited(BaseException):
    """The process would be gone."""


class FakeWorld:
    """Sleeps and ends in a list; its dice are real."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self.first_hits: list[tuple[int, ConversationKey | None]] = []
        self.failpoints = Failpoints(
            World(self.slept.append, self.exit, self.chance, self.hash_of, self.note)
        )

    def exit(self, code: int) -> NoReturn:
        raise Exited(code)

    def chance(self, seed: int | None) -> Callable[[], float]:
        return random.Random(seed).random

    def hash_of(self, key: ConversationKey) -> str:
        return "0123456789ab" if key == TALK else "ffffffffffff"

    def note(self, standing: Standing, chosen: ConversationKey | None) -> None:
        self.first_hits.append((standing.number, chosen))

    def order(self, place: str = "route", action: str = "drop", **fields: Any) -> Standing:
        text = json.dumps({"place": place, "action": action} | fields)
        return self.failpoints.order(decode_order(text))

    def hits(self, *passing: Iterable[Letter], place: Place = Place.ROUTE) -> list[bool]:
        """What becomes of each that passes: dropped or not."""
        at = self.failpoints.at[place]
        return [at.hit(lambda letters=letters: letters) for letters in passing]  # type: ignore[misc]

    def hits_of(self, times: int) -> list[bool]:
        return self.hits(*[[]] * times)


def letters(*keys: str, of: ConversationKey = TALK) -> list[Letter]:
    return [Letter(of, IdempotencyKey(key)) for key in keys]


# ── which are hit ────────────────────────────────────────────────────────────────────────────


def test_an_order_hits_all_that_pass_its_place_and_none_that_pass_another() -> None:
    world = FakeWorld()
    standing = world.order()

    assert world.hits_of(3) == [True] * 3
    for place in set(Place) - {Place.ROUTE}:
        assert world.hits([], place=place) == [False]
    assert (standing.hits, standing.passed) == (3, 0)


def test_an_order_lets_skip_pass_and_hits_times() -> None:
    world = FakeWorld()
    standing = world.order(skip=2, times=3)

    assert world.hits_of(8) == [False, False, True, True, True, False, False, False]
    assert (standing.hits, standing.passed) == (3, 2)


def test_the_same_seed_hits_the_same_again_and_chance_is_as_likely_as_it_says() -> None:
    def hits(**fields: Any) -> list[bool]:
        world = FakeWorld()
        standing = world.order(probability=0.3, **fields)
        found = world.hits_of(2_000)
        assert standing.hits + standing.passed == 2_000
        assert standing.hits == sum(found)
        return found

    assert hits(seed=1) == hits(seed=1)
    assert hits(seed=1) != hits(seed=2)
    assert 480 < sum(hits(seed=1)) < 720
    assert hits() != hits()


def test_only_what_is_chosen_is_hit_and_counted() -> None:
    world = FakeWorld()
    standing = world.order(conversations=[SELECTOR], skip=1)
    mine, others = letters("k"), letters("k", of=OTHER)

    assert world.hits(others, mine, others, [], mine, mine) == [False] * 4 + [True] * 2
    assert (standing.hits, standing.passed) == (2, 1)
    assert world.first_hits == [(standing.number, TALK)]


def test_a_conversation_can_be_chosen_by_the_hash_in_the_log() -> None:
    world = FakeWorld()
    world.order(conversations=["0123456789ab"])

    assert world.hits(letters("k", of=OTHER), letters("k")) == [False, True]


def test_a_batch_is_hit_where_one_letter_has_both_the_conversation_and_the_key() -> None:
    world = FakeWorld()
    world.order(conversations=[SELECTOR], keys="poison-")
    read = Letter(TALK, None)

    assert world.hits(
        letters("good", "poison-1"),
        letters("good") + letters("poison-1", of=OTHER),
        letters("a-poison-1"),
        [read],
    ) == [True, False, False, False]


def test_whose_letters_they_are_is_looked_into_only_where_an_order_chooses() -> None:
    def never() -> NoReturn:
        raise AssertionError

    world = FakeWorld()
    at = world.failpoints.at[Place.ENCODE]
    assert not at.hit(never)
    world.order("encode")
    assert at.hit(never)


def test_the_oldest_order_that_hits_is_obeyed_and_the_younger_see_what_it_lets_pass() -> None:
    world = FakeWorld()
    first = world.order(times=1)
    second = world.order(action="raise", times=1)

    assert world.hits_of(1) == [True]
    with pytest.raises(OrderedFaultError):
        world.hits_of(1)
    assert world.hits_of(1) == [False]
    assert (first.hits, second.hits, second.passed) == (1, 1, 0)
    assert world.failpoints.at[Place.ROUTE].hits == {"raise": 1, "delay": 0, "drop": 1, "exit": 0}


def test_an_order_that_is_taken_back_hits_no_more_and_the_others_stay() -> None:
    world = FakeWorld()
    orders = [world.order(), world.order("publish"), world.order()]

    assert [one.number for one in world.failpoints.orders] == [1, 2, 3]
    assert world.failpoints.clear(orders[0].number)
    assert not world.failpoints.clear(orders[0].number)
    assert world.hits_of(1) == [True]
    assert world.failpoints.clear(orders[2].number)
    assert world.hits_of(1) == [False]
    assert world.hits([], place=Place.PUBLISH) == [True]
    assert world.order().number == 4


def test_there_is_no_failpoint_where_there_is_no_laboratory() -> None:
    world = FakeWorld()

    assert failpoint(None, Place.SEND) is None
    assert failpoint(world.failpoints, Place.SEND) is world.failpoints.at[Place.SEND]


# ── what is done ─────────────────────────────────────────────────────────────────────────────


def at_route(world: FakeWorld) -> Failpoint:
    return world.failpoints.at[Place.ROUTE]


def test_a_delay_stops_the_thread_an_exit_ends_the_process_and_the_first_hit_is_told() -> None:
    world = FakeWorld()
    delay = world.order(action="delay", seconds=0.5, times=2)
    exits = world.order(action="exit", code=9)

    assert world.hits_of(2) == [False, False]
    assert world.slept == [0.5, 0.5]
    with pytest.raises(Exited, match="9"):
        world.hits_of(1)
    assert world.first_hits == [(delay.number, None), (exits.number, None)]


@pytest.mark.trio
async def test_a_delay_of_a_task_is_that_tasks_alone_and_can_be_cancelled(
    autojump_clock: MockClock,
) -> None:
    world = FakeWorld()
    world.order(action="delay", seconds=20)
    start = trio.current_time()
    assert not await at_route(world).reach()
    assert trio.current_time() - start == pytest.approx(20)
    with trio.move_on_after(5) as scope:
        await at_route(world).reach()
    assert scope.cancelled_caught
    assert world.slept == []


@pytest.mark.trio
async def test_a_task_is_dropped_crashed_or_ended_as_any_other() -> None:
    world = FakeWorld()
    assert not await at_route(world).reach()
    world.order(times=1)
    world.order(action="raise", times=1)
    world.order(action="exit", code=0)
    assert await at_route(world).reach()
    with pytest.raises(OrderedFaultError):
        await at_route(world).reach()
    with pytest.raises(Exited, match="0"):
        await at_route(world).reach()


# ── what is no order ─────────────────────────────────────────────────────────────────────────

DROP: dict[str, Any] = {"place": "route", "action": "drop"}
LONG = [{"conversation_id": str(n), "users": ["a", "b"]} for n in range(MOST_CONVERSATIONS + 1)]


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ("", "truncated"),
        ("[]", "object"),
        ("\xff", "malformed"),
        ({}, "place"),
        ({"place": "route"}, "action"),
        (DROP | {"place": "roote"}, "roote"),
        (DROP | {"action": "stop"}, "stop"),
        (DROP | {"time": 3}, "time"),
        (DROP | {"times": 0}, "times"),
        (DROP | {"times": 1.5}, "times"),
        (DROP | {"times": True}, "times"),
        (DROP | {"times": None}, "times"),
        (DROP | {"skip": -1}, "skip"),
        (DROP | {"probability": 0}, "probability"),
        (DROP | {"probability": 1.1}, "probability"),
        (DROP | {"probability": 0.5, "seed": -1}, "seed"),
        (DROP | {"seed": 1}, "seed"),
        (DROP | {"seconds": 1}, "seconds"),
        (DROP | {"code": 2}, "code"),
        (DROP | {"action": "delay"}, "seconds"),
        (DROP | {"action": "delay", "seconds": 0}, "seconds"),
        (DROP | {"action": "delay", "seconds": 60.1}, "seconds"),
        (DROP | {"action": "exit", "code": 256}, "code"),
        (DROP | {"keys": ""}, "keys"),
        (DROP | {"keys": "k" * 129}, "keys"),
        (DROP | {"keys": "two words"}, "none begins like `keys`"),
        (DROP | {"conversations": []}, "conversations"),
        (DROP | {"conversations": LONG}, "conversations"),
        (DROP | {"conversations": ["talk"]}, "conversations"),
        (DROP | {"conversations": [SELECTOR | {"users": ["a"]}]}, "users"),
        (DROP | {"conversations": [SELECTOR | {"users": ["a", "b c"]}]}, "characters"),
        (DROP | {"conversations": [SELECTOR | {"conversation_id": ""}]}, "conversation_id"),
        (DROP | {"conversations": [SELECTOR | {"user": "a"}]}, "user"),
    ],
    ids=str,
)
def test_what_is_no_order_is_refused_with_the_reason(wrong: Any, why: str) -> None:
    text = wrong.encode("latin-1") if isinstance(wrong, str) else json.dumps(wrong)

    with pytest.raises(InvalidOrderError, match=why):
        decode_order(text)


@pytest.mark.parametrize("place", sorted(OF_NO_CONVERSATION))
@pytest.mark.parametrize("selector", [{"conversations": [SELECTOR]}, {"keys": "k"}])
def test_a_place_that_knows_no_conversation_takes_no_order_for_one(
    place: Place, selector: dict[str, object]
) -> None:
    with pytest.raises(InvalidOrderError, match=f"{place} does not know whose letter"):
        decode_order(json.dumps({"place": place, "action": "drop"} | selector))


@pytest.mark.parametrize("place", Place)
@pytest.mark.parametrize("action", Action)
def test_every_action_can_be_ordered_at_every_place(place: Place, action: Action) -> None:
    seconds = {"seconds": 1} if action is Action.DELAY else {}

    assert decode_order(json.dumps({"place": place, "action": action} | seconds)).place is place


# ── around a commit ──────────────────────────────────────────────────────────────────────────


@pytest.fixture
def world() -> FakeWorld:
    return FakeWorld()


@pytest.fixture
def writer(world: FakeWorld, tmp_path):
    with opened(tmp_path) as environment:
        yield Writer(environment, lambda: PLENTY, failpoints=world.failpoints)


FIRST = append(TALK, base(TALK), [Sent("ann", "k-1")])


def test_a_drop_before_the_commit_is_a_full_disk_and_whoever_stores_nothing_is_answered(
    world: FakeWorld, writer: Writer
) -> None:
    world.order("before_commit", times=1)

    assert writer.transact([ReadHead(TALK), FIRST]) == [base(TALK), Full()]
    assert writer.transact([ReadHead(TALK)]) == [base(TALK)]
    assert isinstance(writer.transact([FIRST])[0], Appended)


def test_a_drop_after_the_commit_loses_the_outcomes_of_what_is_stored_and_no_other(
    world: FakeWorld, writer: Writer
) -> None:
    world.order("after_commit", times=2)

    assert writer.transact([ReadHead(TALK), FIRST]) == [base(TALK), Lost()]
    assert writer.transact([mark(TALK, "bob", 1)]) == [Lost()]
    assert writer.transact([ReadHead(TALK)]) == [head_after(FIRST)]


@pytest.mark.parametrize(("place", "is_stored"), [("before_commit", False), ("after_commit", True)])
def test_what_is_raised_about_a_commit_fails_the_store_for_good(
    world: FakeWorld, writer: Writer, place: str, is_stored: bool, tmp_path
) -> None:
    world.order(place, "raise", times=1)
    (failed,) = writer.transact([FIRST])
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, StoreFailedError)
    assert isinstance(writer.transact([ReadHead(TALK)])[0], Failed)
    writer._environment.close()
    with opened(tmp_path) as environment:
        (head,) = Writer(environment, lambda: PLENTY).transact([ReadHead(TALK)])
    assert head == (head_after(FIRST) if is_stored else base(TALK))


def test_a_commit_is_chosen_by_any_letter_in_it_and_one_that_stores_nothing_passes_by(
    world: FakeWorld, writer: Writer
) -> None:
    standing = world.order("before_commit", "delay", seconds=1, conversations=[SELECTOR])
    other = append(OTHER, base(OTHER), [Sent("ann", "k-1")])
    writer.transact([other])
    writer.transact([ReadHead(TALK), OpenInbox(TALK.low)])
    assert standing.hits == 0
    second = append(OTHER, head_after(other), [Sent("ann", "k-2")])
    writer.transact([second, FIRST])
    writer.transact([mark(TALK, "bob", 1)])
    assert standing.hits == 2
    by_key = world.order("after_commit", "delay", seconds=1, keys="k-9")
    writer.transact([append(OTHER, head_after(second), [Sent("ann", "k-9")])])
    assert by_key.hits == 1
    assert world.slept == [1.0, 1.0, 1.0]
