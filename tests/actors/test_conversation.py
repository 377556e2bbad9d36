"""A conversation numbers without gaps and answers everyone, wherever its actor fails."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest
import trio
import trio.lowlevel

from actors.conversation import Conversation
from actors.dead_letters import DeadLetters
from actors.letters import Letter, SendLetter
from actors.limits import Limits
from actors.mailbox import Mailbox
from actors.openings import Openings
from actors.router import Router
from actors.supervisor import Intensity
from ksmp.chain import chain_after, chain_base
from ksmp.events import Error, Read, SendAck
from ksmp.types import TimeMs, conversation_key
from tests.actors.memory_log import MemoryLog
from tests.actors.saboteur import Planted, Saboteur
from tests.actors.world import (
    ALICE,
    BOB,
    KEY,
    Client,
    SilentTelemetry,
    World,
    all_answered,
    envelope,
    read_letter,
    send_letter,
    wall_clock,
)


def assert_whole(log: MemoryLog) -> None:
    """1, 2, 3 …, chained from the base, each in both inboxes once."""
    records = log.envelopes(KEY)
    assert [record.server_seq for record in records] == list(range(1, len(records) + 1))
    chain = chain_base(*KEY)
    for record, stored in zip(records, log.records.get(KEY, []), strict=True):
        chain = chain_after(chain, record)
        assert stored.chain == chain
    for user in (ALICE, BOB):
        assert log.inboxes.get(user, []) == [(KEY, record.server_seq) for record in records]


@pytest.mark.trio
async def test_sends_are_numbered_in_the_order_in_which_they_were_accepted(
    autojump_clock: trio.testing.MockClock,
) -> None:
    world, client = World(), Client()
    letters: list[Letter] = [send_letter(client, f"key-{n}") for n in range(600)]
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        for letter in letters:
            assert world.router.route(KEY, letter) is None
        await all_answered(letters)
        nursery.cancel_scope.cancel()

    assert_whole(world.log)
    acks = [client.to(letter)[0] for letter in letters]
    assert [ack.server_seq for ack in acks if isinstance(ack, SendAck)] == list(range(1, 601))


@pytest.mark.trio
async def test_a_repeated_key_gets_the_first_ack_and_another_payload_a_conflict(
    autojump_clock: trio.testing.MockClock,
) -> None:
    world, client = World(), Client()
    first, again, other = (
        send_letter(client),
        send_letter(client),
        send_letter(client, text=b"another"),
    )
    later = send_letter(client)
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        for letter in (first, again, other):
            world.router.route(KEY, letter)
        await all_answered([first, again, other])
        world.router.route(KEY, later)
        await all_answered([later])
        nursery.cancel_scope.cancel()

    assert isinstance(client.to(first)[0], SendAck)
    assert client.to(first) == client.to(again) == client.to(later)
    conflict = client.to(other)[0]
    assert isinstance(conflict, Error)
    assert conflict.code == "idempotency_conflict"
    assert len(world.log.records[KEY]) == 1


@pytest.mark.rule("S5", "S9", "S10")
@pytest.mark.trio
async def test_a_crash_at_any_checkpoint_leaves_the_log_whole_and_nobody_waiting(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Conversation.run
    struck = 0
    for at in count(1):
        saboteur = Saboteur(at)

        async def sabotaged(self: Conversation, saboteur: Saboteur = saboteur) -> None:
            await saboteur.run(run(self))

        monkeypatch.setattr(Conversation, "run", sabotaged)
        world, client = World(), Client()
        early: list[Letter] = [send_letter(client, f"early-{n}") for n in range(3)]
        late: list[Letter] = [
            send_letter(client, "late-1"),
            send_letter(client, "early-1"),  # a repeat
            send_letter(client, "late-1"),  # a repeat within the batch
            send_letter(client, "early-2", text=b"another"),  # a conflict
            read_letter(client, 2),
            send_letter(client, "late-2"),
        ]
        async with trio.open_nursery() as nursery:
            await world.start(nursery)
            for letter in early:
                world.router.route(KEY, letter)
            await all_answered(early)
            for letter in late:
                world.router.route(KEY, letter)
            await all_answered(late)
            nursery.cancel_scope.cancel()

        assert_whole(world.log)
        assert [len(client.to(letter)) for letter in early + late] == [1] * 9
        assert_answers_true(world.log, client)
        if not saboteur.has_struck:
            break
        struck += 1
        assert world.telemetry.count("actor.failed") == 1
        assert world.telemetry.count("letter.dead") == 0, "one crash is not the letter's fault"

    assert struck >= 5, "head, mailbox, append, append again, read: each is a checkpoint"


def assert_answers_true(log: MemoryLog, client: Client) -> None:
    """Every answer is what a model without crashes would give."""
    stored = {record.idempotency_key: record for record in log.envelopes(KEY)}
    for letter, answer in client.answers:
        match answer:
            case SendAck():
                assert isinstance(letter, SendLetter)
                record = stored[letter.envelope.idempotency_key]
                assert record.ciphertext == letter.envelope.ciphertext
                assert record.server_seq == answer.server_seq
            case Read(server_seq=seq):
                assert seq == 2
            case Error(code):
                assert code == "idempotency_conflict"
            case _:
                raise AssertionError(f"nobody asked for {answer}")
    assert set(stored) == {"early-0", "early-1", "early-2", "late-1", "late-2"}


@pytest.mark.rule("S12")
@pytest.mark.trio
async def test_a_letter_that_crashes_alone_is_rejected_and_its_neighbours_are_stored(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = Conversation._number

    def poisoned(self: Conversation, letters: list[SendLetter]) -> Any:
        if any(letter.envelope.idempotency_key == "poison" for letter in letters):
            raise Planted
        return number(self, letters)

    monkeypatch.setattr(Conversation, "_number", poisoned)
    world, client = World(), Client()
    letters: list[Letter] = [send_letter(client, key) for key in ("a", "b", "poison", "c")]
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        for letter in letters:
            world.router.route(KEY, letter)
        await all_answered(letters)
        nursery.cancel_scope.cancel()

    assert_whole(world.log)
    assert [record.idempotency_key for record in world.log.records[KEY]] == ["a", "b", "c"]
    rejection = client.to(letters[2])[0]
    assert isinstance(rejection, Error)
    assert (rejection.code, rejection.retryable, rejection.action) == ("rejected", False, "stop")
    assert world.telemetry.count("letter.dead") == 1


@pytest.mark.rule("S3")
@pytest.mark.trio
async def test_a_letter_that_is_stopped_from_above_while_taken_again_is_no_dead_letter(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Stopped where only an incarnation can answer: at a key that is known already."""
    world, client = World(), Client()
    first, again = send_letter(client), send_letter(client)
    mailbox = Mailbox(10, 1_000)
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        world.route(first)
        await all_answered([first])
        mailbox.put(again)
        await mailbox.take()  # what a crash left in hand
        async with trio.open_nursery() as stopped:
            stopped.start_soon(incarnation(world, mailbox).run)
            for _ in range(1_000):
                if again.is_handed_over:
                    break
                await trio.lowlevel.checkpoint()
            assert again.is_handed_over
            stopped.cancel_scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(incarnation(world, mailbox).run)
        await all_answered([again])
        nursery.cancel_scope.cancel()

    assert client.to(again) == client.to(first)
    assert isinstance(client.to(first)[0], SendAck)


def incarnation(world: World, mailbox: Mailbox) -> Conversation:
    return Conversation(
        KEY,
        mailbox,
        world.log,
        world.inboxes,
        Openings(Limits()),
        wall_clock,
        world.telemetry,
        DeadLetters(),
    )


@pytest.mark.rule("S18", "S22", "S25")
@pytest.mark.trio
async def test_a_conversation_over_its_intensity_is_quarantined_alone_and_comes_back(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_head = Conversation._read_head
    is_broken = True

    async def crashing(self: Conversation) -> Any:
        if is_broken and self._key == KEY:
            raise Planted
        return await read_head(self)

    monkeypatch.setattr(Conversation, "_read_head", crashing)
    world, client = World(intensity=Intensity(3, 60.0)), Client()
    elsewhere = conversation_key(envelope(conversation="elsewhere").conversation_id, ALICE, BOB)
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        victims: list[Letter] = [send_letter(client, f"victim-{n}") for n in range(8)]
        for letter in victims:
            refused = world.router.route(KEY, letter)
            if refused is not None:
                letter.refuse(refused.code, refused.retry_after_ms)
            await trio.sleep(0.5)
        await all_answered(victims)
        bystander = SendLetter(envelope("bystander", conversation="elsewhere"), client, 100)
        assert world.router.route(elsewhere, bystander) is None
        await all_answered([bystander])

        refused = world.router.route(KEY, send_letter(client, "too-early"))
        assert refused is not None
        assert refused.code == "conversation_unavailable"
        assert refused.retry_after_ms > 0

        is_broken = False
        await trio.sleep(refused.retry_after_ms / 1_000)
        healed = send_letter(client, "healed")
        assert world.router.route(KEY, healed) is None
        await all_answered([healed])
        nursery.cancel_scope.cancel()

    codes = {answer.code for letter in victims for answer in client.to(letter)}  # type: ignore[union-attr]
    assert codes == {"conversation_unavailable"}
    assert isinstance(client.to(bystander)[0], SendAck)
    assert isinstance(client.to(healed)[0], SendAck)
    assert world.telemetry.count("actor.quarantined") >= 1


@pytest.mark.rule("S6")
@pytest.mark.trio
async def test_a_dead_incarnations_append_is_still_answered_by_its_commit(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The actor dies while the disk works; the commit answers, and nothing is stored twice."""
    append = Conversation._append
    deaths = 0

    async def dying(self: Conversation, letters: list[SendLetter]) -> list[SendLetter]:
        nonlocal deaths
        if deaths:
            return await append(self, letters)
        deaths += 1
        with trio.move_on_after(0):  # handed over, and then no patience to wait
            await append(self, letters)
        raise Planted

    monkeypatch.setattr(Conversation, "_append", dying)
    world, client = World(), Client()
    letter = send_letter(client)
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        await trio.testing.wait_all_tasks_blocked()
        world.router.route(KEY, letter)
        await all_answered([letter])
        nursery.cancel_scope.cancel()

    assert isinstance(client.to(letter)[0], SendAck)
    assert len(world.log.records[KEY]) == 1
    assert deaths == 1


@pytest.mark.trio
async def test_a_full_store_refuses_new_sends_answers_known_ones_and_recovers(
    autojump_clock: trio.testing.MockClock,
) -> None:
    world, client = World(), Client()
    known, again, refused, later = (
        send_letter(client, "known"),
        send_letter(client, "known"),
        send_letter(client, "new"),
        send_letter(client, "new"),
    )
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        world.router.route(KEY, known)
        await all_answered([known])
        world.log.is_full = True
        world.router.route(KEY, again)
        world.router.route(KEY, refused)
        await all_answered([again, refused])
        world.log.is_full = False
        world.router.route(KEY, later)
        await all_answered([later])
        nursery.cancel_scope.cancel()

    assert client.to(again) == client.to(known)
    refusal = client.to(refused)[0]
    assert isinstance(refusal, Error)
    assert (refusal.code, refusal.retryable) == ("storage_full", True)
    assert isinstance(client.to(later)[0], SendAck)


@pytest.mark.rule("S39")
@pytest.mark.trio
async def test_a_failed_store_leaves_every_outcome_unknown_and_acknowledges_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    world, client = World(), Client()
    letters: list[Letter] = [send_letter(client, f"key-{n}") for n in range(5)]
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        world.log.failure = OSError("the disk is gone")
        for letter in letters:
            world.router.route(KEY, letter)
        await all_answered(letters)
        nursery.cancel_scope.cancel()

    answers = [client.to(letter)[0] for letter in letters]
    assert {answer.code for answer in answers if isinstance(answer, Error)} == {"outcome_unknown"}
    assert len(answers) == 5


@pytest.mark.rule("S42")
@pytest.mark.trio
async def test_a_writer_that_lost_the_head_takes_it_from_the_log_and_goes_on(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A second writer, as a zombie of a crash would be: fencing decides, not memory."""
    world, client = World(), Client()
    first, second = send_letter(client, "first"), send_letter(client, "second")
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        world.router.route(KEY, first)
        await all_answered([first])
        zombie = World()
        zombie.log = world.log
        other = Router(
            world.log,
            world.inboxes,
            Limits(),
            wall_clock=lambda: TimeMs(5),
            jitter=lambda: 0.0,
            telemetry=SilentTelemetry(),
        )
        nursery.start_soon(other.run)
        await other.started.wait()
        between = send_letter(client, "between")
        other.route(KEY, between)
        await all_answered([between])
        world.router.route(KEY, second)
        await all_answered([second])
        nursery.cancel_scope.cancel()

    assert_whole(world.log)
    assert [record.idempotency_key for record in world.log.records[KEY]] == [
        "first",
        "between",
        "second",
    ]


@pytest.mark.trio
async def test_reads_keep_their_maximum_and_refuse_what_does_not_exist(
    autojump_clock: trio.testing.MockClock,
) -> None:
    world, client = World(), Client()
    sends: list[Letter] = [send_letter(client, f"key-{n}") for n in range(3)]
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        unknown = read_letter(client, 1)
        world.router.route(KEY, unknown)
        await all_answered([unknown])
        for letter in sends:
            world.router.route(KEY, letter)
        await all_answered(sends)
        reads: list[Letter] = [read_letter(client, seq) for seq in (2, 1, 4)]
        for letter in reads:
            world.router.route(KEY, letter)
        await all_answered(reads)
        nursery.cancel_scope.cancel()

    answers = [client.to(letter)[0] for letter in (unknown, *reads)]
    assert [getattr(answer, "code", None) for answer in answers] == [
        "invalid_seq",
        None,
        None,
        "invalid_seq",
    ]
    assert [answer.server_seq for answer in answers if isinstance(answer, Read)] == [2, 2]
