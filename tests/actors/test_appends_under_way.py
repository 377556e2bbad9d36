"""While an append is under way, and when it comes back otherwise than whole, nothing is missed."""

from __future__ import annotations

import gc
import weakref
from itertools import count

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors.conversation import Conversation
from actors.letters import Letter, SendLetter
from ksmp.chain import chain_link
from ksmp.codec import encode_recorded
from ksmp.events import Error, ServerEvent
from ksmp.types import ServerSeq
from storage.keys import payload_digest
from storage.log import Append, NewRecord, ReadHead
from tests.actors.saboteur import Saboteur
from tests.actors.world import KEY, Client, World, all_answered, numbers, send_letter, wall_clock


async def begin(world: World, nursery: trio.Nursery, client: Client) -> Letter:
    """A conversation that is live, has its first record, and sleeps."""
    await world.start(nursery)
    first = send_letter(client, "first")
    world.route(first)
    await all_answered([first])
    await wait_all_tasks_blocked()
    return first


def codes(client: Client, letters: list[Letter]) -> list[str]:
    """What became of each letter, which must have been answered once."""
    return [told(*client.to(letter)) for letter in letters]


def told(answer: ServerEvent) -> str:
    return answer.code if isinstance(answer, Error) else type(answer).__name__


async def test_what_comes_while_an_append_is_under_way_is_the_next_one(
    autojump_clock: MockClock,
) -> None:
    world, client = World(), Client()
    under_way = send_letter(client, "under-way")
    later: list[Letter] = [send_letter(client, f"later-{n}") for n in range(5)]
    async with trio.open_nursery() as nursery:
        await begin(world, nursery, client)
        world.log.is_held = True
        world.route(under_way)
        await wait_all_tasks_blocked()
        for letter in later:
            world.route(letter)
            await wait_all_tasks_blocked()
        queued = len(world.log._waiting)
        world.log.release()
        await all_answered([under_way, *later])
        nursery.cancel_scope.cancel()

    assert queued == 1, "one append at a time"
    assert numbers(client, [under_way, *later]) == [2, 3, 4, 5, 6, 7]


@pytest.mark.rule("S5", "S9", "S10")
async def test_a_crash_at_any_checkpoint_loses_nothing_of_an_append_that_comes_back_in_part(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Conversation.run
    struck = 0
    for at in count(1):
        saboteur = Saboteur(at)

        async def sabotaged(self: Conversation, saboteur: Saboteur = saboteur) -> None:
            await saboteur.run(run(self))

        monkeypatch.setattr(Conversation, "run", sabotaged)
        world, client = World(), Client()
        late: list[Letter] = [
            send_letter(client, "fresh-1"),
            send_letter(client, "known"),
            send_letter(client, "first", text=b"another"),
            send_letter(client, "too-much"),
            send_letter(client, "fresh-2"),
        ]
        world.log.too_much = {"too-much"}
        async with trio.open_nursery() as nursery:
            await begin(world, nursery, client)
            known = send_letter(client, "known")
            world.route(known)
            await all_answered([known])
            world.route(*late)
            await all_answered(late)
            last = send_letter(client, "last")
            world.route(last)
            await all_answered([last])
            nursery.cancel_scope.cancel()

        told = ["SendAck", "SendAck", "idempotency_conflict", "quota_exceeded", "SendAck"]
        assert codes(client, late) == told, f"failing at checkpoint {at}"
        assert client.to(late[1]) == client.to(known)
        keys = [one.idempotency_key for one in world.log.envelopes(KEY)]
        assert keys == ["first", "known", "fresh-1", "fresh-2", "last"]
        if not saboteur.has_struck:
            break
        struck += 1
        assert world.telemetry.count("letter.dead") == 0

    assert struck >= 5


@pytest.mark.parametrize("refused", ["storage_full", "outcome_unknown"])
async def test_whoever_an_append_refuses_hears_why_and_the_next_is_taken(
    autojump_clock: MockClock, refused: str
) -> None:
    world, client = World(), Client()
    letters: list[Letter] = [send_letter(client, f"refused-{n}") for n in range(3)]
    later = send_letter(client, "later")
    async with trio.open_nursery() as nursery:
        await begin(world, nursery, client)
        if refused == "storage_full":
            world.log.is_full = True
        else:
            world.log.failure = OSError()
        world.route(*letters)
        await all_answered(letters)
        world.log.is_full, world.log.failure = False, None
        world.route(later)
        await all_answered([later])
        nursery.cancel_scope.cancel()

    assert codes(client, letters) == [refused] * 3
    assert numbers(client, [later]) == [2]


async def test_a_head_that_another_writer_has_moved_is_found(autojump_clock: MockClock) -> None:
    world, client = World(), Client()
    letters: list[Letter] = [send_letter(client, "one"), send_letter(client, "two")]
    async with trio.open_nursery() as nursery:
        await begin(world, nursery, client)
        world.log.commit(Append(KEY, ServerSeq(1), [strangers_record(world)]))
        world.route(*letters)
        await all_answered(letters)
        nursery.cancel_scope.cancel()

    assert numbers(client, letters) == [3, 4]


def strangers_record(world: World) -> NewRecord:
    letter = send_letter(Client(), "of-another-writer")
    sent, now = letter.envelope, wall_clock()
    number = ServerSeq(2)
    return NewRecord(
        number,
        now,
        sent.sender_user_id,
        sent.idempotency_key,
        payload_digest(letter.payload),
        chain_link(world.log.records[KEY][-1].chain, number, now, letter.payload),
        encode_recorded(sent, number, now),
    )


@pytest.mark.rule("S6")
async def test_what_was_under_way_when_all_conversations_were_stopped_is_answered_once(
    autojump_clock: MockClock,
) -> None:
    world, client = World(), Client()
    under_way, waiting = send_letter(client, "under-way"), send_letter(client, "waiting")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.log.run)
        async with trio.open_nursery() as routers:
            routers.start_soon(world.router.run)
            await world.router.started.wait()
            first = send_letter(client, "first")
            world.route(first)
            await all_answered([first])
            world.log.is_held = True
            world.route(under_way)
            await wait_all_tasks_blocked()
            world.route(waiting)
            routers.cancel_scope.cancel()
        nursery.start_soon(world.router.run)
        await wait_all_tasks_blocked()
        world.log.release()
        await all_answered([under_way, waiting])
        nursery.cancel_scope.cancel()

    assert numbers(client, [first, under_way, waiting]) == [1, 2, 3]
    assert len(client.answers) == 3


async def test_a_sleeping_conversation_keeps_nothing_of_its_last_letters(
    autojump_clock: MockClock,
) -> None:
    class Watched(SendLetter):
        """Can be looked at without being kept."""

    world, client = World(is_debug=False), Client()
    client.settle = lambda letter, answer: None  # type: ignore[method-assign]
    async with trio.open_nursery() as nursery:
        await begin(world, nursery, Client())
        letter = Watched(send_letter(client, "last").envelope, client, 10)
        seen = weakref.ref(letter)
        world.route(letter)
        await all_answered([letter])
        del letter
        world.log.submit(ReadHead(KEY), lambda _: None)  # the model of a log keeps its last batch
        await wait_all_tasks_blocked()
        gc.collect()
        assert seen() is None
        nursery.cancel_scope.cancel()
