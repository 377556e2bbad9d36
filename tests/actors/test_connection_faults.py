"""A slow reader, a bug of ours and a commit at a bad moment each hurt one connection at most."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import pytest
import trio
from trio.abc import Instrument
from trio.testing import MockClock, wait_all_tasks_blocked

from actors.connection import Connection
from actors.delivery import Delivery
from actors.limits import Limits
from actors.session import Session
from ksmp.errors import error
from ksmp.events import (
    AckRead,
    InboxFrame,
    Ping,
    Read,
    SendAck,
)
from ksmp.types import GlobalInboxSeq, ServerSeq
from tests.actors.fake_transport import FakeTransport
from tests.actors.peers import FROM_THE_START, ConnectedWorld, Peer, sends, sends_of_bob
from tests.actors.saboteur import Planted
from tests.actors.world import ALICE, BOB, KEY

pytestmark = pytest.mark.usefixtures("both_ways_in")

# ── slow readers ─────────────────────────────────────────────────────────────────────────────


async def test_a_client_that_takes_nothing_for_too_long_is_closed_as_slow(
    autojump_clock: MockClock,
) -> None:
    world = ConnectedWorld()
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        slow = await world.connect(nursery, BOB, transport=FakeTransport(write_seconds=10.0))
        alice = await world.connect(nursery)
        for peer in (slow, alice):
            await peer.say(FROM_THE_START)
        slow.transport.stall()
        began = trio.current_time()
        await alice.say(*sends(5))
        await slow.has_ended.wait()
        took = trio.current_time() - began
        nursery.cancel_scope.cancel()

    assert slow.transport.close_code == 4410
    assert took == pytest.approx(10.0)
    assert alice.frames == [1, 2, 3, 4, 5]
    assert slow.transport.is_released


async def test_a_slow_client_that_was_told_to_go_is_not_waited_for(
    autojump_clock: MockClock,
) -> None:
    world = ConnectedWorld()
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        stalled = await world.connect(nursery)
        stalled.transport.stall()
        await stalled.say(Ping())
        began = trio.current_time()
        await world.connect(nursery)
        await stalled.has_ended.wait()
        took = trio.current_time() - began
        nursery.cancel_scope.cancel()

    assert stalled.transport.close_code == 4409
    assert took <= 1.0


# ── faults of ours ───────────────────────────────────────────────────────────────────────────


def fail(*_: object) -> None:
    raise Planted


@pytest.mark.rule("S37")
async def test_a_bug_in_handling_an_event_ends_that_connection_and_tells_nothing_of_itself(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = ConnectedWorld()
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        victim = await world.connect(nursery)
        other = await world.connect(nursery, BOB)
        with monkeypatch.context() as sabotage:
            sabotage.setattr(Session, "_take_resume", fail)
            await victim.say(FROM_THE_START, Ping())
        assert await other.is_served()
        nursery.cancel_scope.cancel()

    assert victim.heard[1:] == [error("internal")]
    assert victim.transport.close_code == 1011
    assert_told_as_a_failure(world)


@pytest.mark.rule("S37")
@pytest.mark.parametrize("broken", ["advance", "tell_read"])
async def test_a_bug_in_delivering_to_one_reader_keeps_no_other_from_its_records(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """It strikes in the commit, which belongs to everyone."""
    sound: Callable[..., object] = getattr(Delivery, broken)
    world = ConnectedWorld()
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        readers = [await world.connect(nursery, BOB, f"device-{n}") for n in range(5)]
        alice = await world.connect(nursery)
        for peer in (alice, *readers):
            await peer.say(FROM_THE_START)
        victim = readers[1].connection._delivery

        def sabotaged(self: Delivery, *arguments: object) -> object:
            if self is victim:
                raise Planted
            return sound(self, *arguments)

        monkeypatch.setattr(Delivery, broken, sabotaged)
        await alice.say(*sends(3))
        await readers[0].say(read_of_bob(2))
        nursery.cancel_scope.cancel()

    others = [alice, readers[0], *readers[2:]]
    assert [peer.frames for peer in others] == [[1, 2, 3]] * 5
    assert len(alice.heard_of(SendAck)) == 3
    assert [len(reads_heard(peer)) for peer in others] == [1] * 5
    assert readers[1].transport.close_code == 1011
    assert readers[1].errors == ["internal"]
    assert_told_as_a_failure(world)


async def test_a_bug_in_answering_one_sender_keeps_no_other_from_its_answers_and_records(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_answer = Connection._log_answer
    world = ConnectedWorld()
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        victim = await world.connect(nursery)
        bob = await world.connect(nursery, BOB)
        await bob.say(FROM_THE_START)

        def sabotaged(self: Connection, *arguments: object) -> None:
            if self is victim.connection:
                raise Planted
            log_answer(self, *arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(Connection, "_log_answer", sabotaged)
        world.log.is_held = True
        await victim.say(*sends(2))
        await bob.say(*sends_of_bob(2))
        world.log.release()
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    assert len(bob.heard_of(SendAck)) == 2
    assert bob.frames == [1, 2, 3, 4]
    assert victim.transport.close_code == 1011


async def test_a_store_that_cannot_be_read_ends_the_connection_with_an_internal_error(
    autojump_clock: MockClock,
) -> None:
    world = ConnectedWorld()
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        alice = await world.connect(nursery)
        await alice.say(*sends(3))
        world.log.unreadable = Planted()
        await alice.say(FROM_THE_START)
        await alice.has_ended.wait()
        nursery.cancel_scope.cancel()

    assert alice.errors == ["internal"]
    assert alice.heard_of(InboxFrame) == []
    assert alice.transport.close_code == 1011
    assert_told_as_a_failure(world)


class CommitAtStep(Instrument):
    """Delivers to a connection once, after the n-th step that any task takes, as a commit may."""

    def __init__(self, step: int, peer: Peer) -> None:
        self.left = step
        self.peer = peer
        self.failures: list[Exception] = []

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self.left -= 1
        if self.left == 0:
            try:
                self.peer.connection.deliver()
            except Exception as failure:  # noqa: BLE001 - kept for the test to see
                self.failures.append(failure)


@pytest.mark.parametrize("ends", ["hangs up", "is closed"])
async def test_a_commit_may_deliver_at_any_step_of_a_connections_end(
    autojump_clock: MockClock, ends: str
) -> None:
    for step in count(1):
        world = ConnectedWorld(Limits(recent_records_bytes=0))
        async with trio.open_nursery() as nursery:
            await world.start(nursery)
            peer = await world.connect(nursery)
            await peer.say(FROM_THE_START, *sends(3))
            # Two more are published than this connection has, and must be read from the log.
            peer.connection._delivery._cursor = GlobalInboxSeq(1)
            commit = CommitAtStep(step, peer)
            trio.lowlevel.add_instrument(commit)
            if ends == "hangs up":
                peer.transport.hang_up()
            else:
                peer.connection._reading.cancel()
            await peer.has_ended.wait()
            trio.lowlevel.remove_instrument(commit)
            nursery.cancel_scope.cancel()

        assert commit.failures == [], f"at step {step}"
        assert "connection.failed" not in world.lines.events, f"at step {step}"
        assert peer.transport.is_released
        if commit.left > 0:
            break

    assert step > 3


def assert_told_as_a_failure(world: ConnectedWorld) -> None:
    (line,) = [line for line in world.lines.lines if line.event == "connection.failed"]
    assert line.level == "error"
    assert line.fields["error"] == "Planted"


def read_of_bob(server_seq: int) -> AckRead:
    return AckRead(KEY.conversation_id, ALICE, ServerSeq(server_seq))


def reads_heard(peer: Peer) -> list[Read]:
    return peer.heard_of(Read)
