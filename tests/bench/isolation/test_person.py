"""A person's sends count from when they were meant, whatever happens to the line; a real relay."""

from __future__ import annotations

import asyncio
import math
import random
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import monotonic_ns

import pytest

from bench.checker.check import judge
from bench.checker.loading import load
from bench.checker.story import Story
from bench.history import Recorder
from bench.isolation.measuring import timeline_of_story
from bench.open_loop.person import Contents, Person, Shared
from bench.process import LoadError
from ksmp.types import ConversationId, UserId
from tests.wire.relay_process import RelayProcess

SECONDS = 30.0
HELD_UP_MS = 300

Act = Callable[[Person, Person], Awaitable[None]]


def told(relay: RelayProcess, history: Path, act: Act) -> Story:
    """The history of two persons and what they do, inside a baseline; then a fault of no length."""

    async def tell(recorder: Recorder) -> None:
        shared = Shared(
            relay.url, recorder, Contents(recorder, b"small", b"large"), random.Random(1), set()
        )
        tokens = relay.tokens(["ann", "bob"])
        ann = _person(shared, tokens[0], "ann", "bob")
        bob = _person(shared, tokens[1], "bob", "ann")
        async with asyncio.timeout(SECONDS):
            for person in (ann, bob):
                await person.come()
                person.conversation = recorder.conversation("c", "ann", "bob")
            window = recorder.begin("baseline")
            await act(ann, bob)
            await settled(ann, bob)
            recorder.end(window)
            recorder.end(recorder.begin("flood"))
        ann.leave()
        bob.leave()

    with Recorder(history, relay="real", configuration={"seconds": 100.0}) as recorder:
        asyncio.run(tell(recorder))
    return load(history)


async def settled(*persons: Person) -> None:
    """There is nothing to be notified by, so it is polled."""
    for _ in range(int(SECONDS * 100)):
        if all(person.is_settled for person in persons):
            return
        await asyncio.sleep(0.01)
    raise TimeoutError


def _person(shared: Shared, token: str, user: str, peer: str) -> Person:
    return Person(
        shared,
        token=token,
        user=UserId(user),
        peer=UserId(peer),
        conversation_id=ConversationId("c"),
        receive_bytes=None,
    )


def acks_ms(story: Story) -> list[float]:
    return list(timeline_of_story(story, []).bystanders.ack_ms)


def test_a_send_to_a_relay_that_stands_still_counts_from_its_intended_time(
    tmp_path: Path,
) -> None:
    with RelayProcess(tmp_path) as relay:

        async def act(ann: Person, _bob: Person) -> None:
            relay.signal(signal.SIGSTOP)
            ann.send(monotonic_ns())
            await asyncio.sleep(HELD_UP_MS / 1_000)
            relay.signal(signal.SIGCONT)

        story = told(relay, tmp_path / "history", act)

    assert len(acks_ms(story)) == 1
    assert acks_ms(story)[0] >= HELD_UP_MS


def test_a_send_that_a_stuck_device_could_not_make_counts_from_its_intended_time(
    tmp_path: Path,
) -> None:
    with RelayProcess(tmp_path) as relay:

        async def act(ann: Person, _bob: Person) -> None:
            ann.stop_reading()
            ann.send(monotonic_ns())
            await asyncio.sleep(HELD_UP_MS / 1_000)
            ann.read_again()

        story = told(relay, tmp_path / "history", act)

    assert story.attempts.late[0] >= HELD_UP_MS * 1_000_000
    assert acks_ms(story)[0] >= HELD_UP_MS


def test_what_was_under_way_when_the_line_was_cut_is_offered_again_and_nothing_is_lost(
    tmp_path: Path,
) -> None:
    with RelayProcess(tmp_path) as relay:

        async def act(ann: Person, bob: Person) -> None:
            for _ in range(3):
                relay.signal(signal.SIGSTOP)
                ann.send(monotonic_ns())  # lies in the relay's socket, unread
                ann._line.on_ws_disconnected(None)  # type: ignore[union-attr, arg-type]
                ann.send(monotonic_ns())  # while there is no line
                bob.send(monotonic_ns())
                relay.signal(signal.SIGCONT)
                await ann.ready.wait()
                await settled(ann, bob)

        story = told(relay, tmp_path / "history", act)
    again = len(story.attempts.at) - len(story.offers.conversation)

    assert len(acks_ms(story)) == 9
    assert max(acks_ms(story)) < SECONDS * 1_000
    assert again == 3
    assert len(story.connections) == 2 + 3


def test_a_refusal_with_a_hint_is_followed_by_the_same_send_again(tmp_path: Path) -> None:
    limits = {"KSMP_LIMITS__SENDS_PER_SECOND": "5", "KSMP_LIMITS__SENDS_BURST": "1"}
    with RelayProcess(tmp_path, limits) as relay:

        async def act(ann: Person, _bob: Person) -> None:
            for _ in range(4):
                ann.send(monotonic_ns())
            await asyncio.sleep(0)

        story = told(relay, tmp_path / "history", act)

    assert {refusal.code for refusal in story.refusals} == {"rate_limited"}
    assert len(acks_ms(story)) == 4
    assert sorted(acks_ms(story))[-1] >= 3 * 1_000 / 5 - 10


def test_a_relay_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with RelayProcess(tmp_path) as relay:
        relay.tokens(["ann", "bob"])
        relay.kill()

        async def act(_ann: Person, _bob: Person) -> None:
            """There is nothing to do."""

        with pytest.raises(LoadError, match="cannot connect"):
            told(relay, tmp_path / "history", act)


def test_what_could_not_go_out_before_the_end_is_in_the_history_and_never_acked(
    tmp_path: Path,
) -> None:
    with RelayProcess(tmp_path) as relay:

        async def act(ann: Person, _bob: Person) -> None:
            relay.kill()
            for _ in range(int(SECONDS * 100)):
                if not ann.ready.is_set():
                    break
                await asyncio.sleep(0.01)
            meant_ns = monotonic_ns()
            ann.send(meant_ns)
            await asyncio.sleep(HELD_UP_MS / 1_000)
            ann.give_up()

        story = told(relay, tmp_path / "history", act)

    assert acks_ms(story) == [math.inf]
    assert story.attempts.late[0] >= HELD_UP_MS * 1_000_000
    assert judge(story).whole


def test_a_line_that_is_lost_while_it_opens_is_an_error_and_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[object] = []
    is_replaced = asyncio.Event()

    class Lost:
        """The first ends before it is open, and the relay takes no second one."""

        def __init__(self, owner: Person, _recorder: Recorder) -> None:
            self._owner = owner
            opened.append(self)

        async def open(self, *_: object) -> None:
            if len(opened) > 1:
                is_replaced.set()
                raise LoadError("cannot connect")
            self._owner.take_end()
            await is_replaced.wait()

        def drop(self) -> None:
            """There is none."""

    async def come(recorder: Recorder) -> None:
        contents = Contents(recorder, b"small", b"large")
        shared = Shared("ws://nowhere", recorder, contents, random.Random(1), set())
        ann = _person(shared, "a token", "ann", "bob")
        try:
            async with asyncio.timeout(SECONDS / 2):  # less than it waits for an answer
                await ann.come()
        finally:
            ann.leave()

    monkeypatch.setattr("bench.open_loop.person.Line", Lost)
    with (
        Recorder(tmp_path / "history", relay="none", configuration={}) as recorder,
        pytest.raises(LoadError, match="lost before it had resumed"),
    ):
        asyncio.run(come(recorder))
