"""Each action at each place does, in a relay that runs, what an operator is told it does."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
import trio
import trio_websocket

from relay.lab.effects import EFFECTS
from storage.fault_orders import Action, Place
from tests.wire import raw
from tests.wire.clients import Peer
from tests.wire.credentials import Issuer
from tests.wire.laboratory import (
    Laboratory,
    Stage,
    assert_others_are_served,
    laboratory,
    staged,
)
from tests.wire.log_lines import await_line, lines
from tests.wire.messages import envelope, fresh, ping, send

pytestmark = pytest.mark.trio

LONG_SECONDS: Final = 60
"""No test waits for so long: what is delayed by it is unanswered when the test ends."""

BLOCKED_SECONDS: Final = 0.6
SHORT_SECONDS: Final = 0.2
EXIT_CODE: Final = 41
STORE_FAILED: Final = 74


@pytest.fixture(scope="module")
def surviving(
    tmp_path_factory: pytest.TempPathFactory, issuer: Issuer, key_set: Path
) -> Iterator[Laboratory]:
    """One for all faults that a relay survives: at the end nothing of them is left."""
    directory = tmp_path_factory.mktemp("lab") / "relay"
    lab = laboratory(directory, issuer, key_set, "websockets")
    with lab.relay:
        lab.status()
        yield lab
        lab.assert_nothing_is_left()
        assert lab.relay.terminate() == 0
        assert b"Traceback" not in lab.relay.output()


@pytest.fixture(scope="module")
def mortals(
    tmp_path_factory: pytest.TempPathFactory, issuer: Issuer, key_set: Path
) -> Iterator[Laboratory]:
    directory = tmp_path_factory.mktemp("lab") / "mortal"
    lab = laboratory(directory, issuer, key_set, "websockets")
    yield lab
    lab.relay.kill()


@pytest.fixture
def mortal(mortals: Laboratory) -> Laboratory:
    """One that ends in the test, and is started again on the same data for the next."""
    if not mortals.relay.is_running:
        mortals.relay.start()
    return mortals


# ── what the tests do ────────────────────────────────────────────────────────────────────────


async def internal_and_closed(peer: Peer) -> None:
    """Nothing about the inside is told, and the connection is over."""
    assert (await peer.next_of("error"))["code"] == "internal"
    assert await peer.close_code() == 1011


async def is_hung_up_on(lab: Laboratory) -> None:
    """A fresh connection that is told nothing."""
    asked = raw.request(raw.host_of(lab.relay.address), token=lab.clients.issuer.token("eve"))
    stream = await trio.open_tcp_stream(*lab.relay.address)
    async with stream:
        with trio.fail_after(10):
            try:
                await stream.send_all(asked)
                answer = await stream.receive_some()
            except trio.BrokenResourceError:
                answer = b""
    assert answer == b""


async def logged(lab: Laboratory, event: str, before: int) -> None:
    await trio.to_thread.run_sync(await_line, lab.relay, event, before + 1)


async def no_answer_yet(peer: Peer) -> None:
    """Nothing has come, and nothing comes for a moment."""
    with trio.move_on_after(0.1) as moment:
        event = await peer.receive()
        raise AssertionError(event)
    assert moment.cancelled_caught


# ── what an order does: raise ────────────────────────────────────────────────────────────────


async def accept_raise(lab: Laboratory) -> None:
    before = len(lines(lab.relay, "connection.failed"))
    lab.order("accept", "raise", times=1)
    await is_hung_up_on(lab)
    await logged(lab, "connection.failed", before)
    await assert_others_are_served(lab)


async def decode_raise(stage: Stage) -> None:
    await stage.order("decode", "raise", times=1)
    await stage.alice.tell(ping("x"))
    await internal_and_closed(stage.alice)
    assert await stage.bob.before_pong() == []


async def route_raise(stage: Stage) -> None:
    await stage.order("route", "raise", **stage.chosen)
    await stage.alice.tell(send(stage.envelope()))
    await internal_and_closed(stage.alice)


async def number_raise(stage: Stage) -> None:
    relay = stage.lab.relay
    crashes = len(lines(relay, "actor.failed"))
    await stage.order("number", "raise", times=1, **stage.chosen)
    assert (await stage.alice.send(stage.envelope()))["serverSeq"] == 1
    assert len(lines(relay, "actor.failed")) == crashes + 1

    await stage.order("number", "raise", keys="poison-", **stage.chosen)
    poison = stage.envelope(idempotencyKey=fresh("poison"))
    told = (await stage.alice.answer_to(poison)).event
    assert told["code"] == "rejected"
    assert (await stage.alice.send(stage.envelope()))["serverSeq"] == 2
    assert await stage.arrived(2) == [1, 2]

    await stage.order("number", "raise", **stage.chosen)  # on and on: it is left alone
    while told["code"] == "rejected":
        told = (await stage.alice.answer_to(stage.envelope())).event
    assert told["code"] == "conversation_unavailable"
    others = envelope(stage.alice.user, stage.bob.user)
    assert (await stage.alice.send(others))["serverSeq"] == 1


async def before_commit_raise(stage: Stage) -> None:
    await store_fails(stage, "before_commit", is_stored=False)


async def after_commit_raise(stage: Stage) -> None:
    await store_fails(stage, "after_commit", is_stored=True)


async def store_fails(stage: Stage, place: str, *, is_stored: bool) -> None:
    sent = stage.envelope()
    await stage.order(place, "raise", **stage.chosen)
    assert (await stage.alice.answer_to(sent)).event["code"] == "outcome_unknown"
    assert await trio.to_thread.run_sync(stage.lab.relay.wait) == STORE_FAILED
    await assert_stored(stage, is_stored=is_stored)


async def assert_stored(stage: Stage, *, is_stored: bool) -> None:
    """Whether the store of the process that has ended holds their one message."""
    await trio.to_thread.run_sync(stage.lab.relay.start)
    async with stage.lab.clients.connect(stage.bob.user) as bob:
        frames = (await bob.resume(0))[:-1]
        assert len(frames) == is_stored


async def publish_raise(stage: Stage) -> None:
    bugs = len(lines(stage.lab.relay, "bug"))
    await stage.order("publish", "raise", times=1, **stage.chosen)
    await comes_with_the_next(stage)
    await logged(stage.lab, "bug", bugs)


async def comes_with_the_next(stage: Stage) -> None:
    """Acknowledged at once; at the recipient's only with the next record."""
    await stage.alice.send(stage.envelope())
    assert await stage.bob.before_pong() == []
    await stage.alice.send(stage.envelope())
    assert await stage.arrived(2) == [1, 2]


async def deliver_raise(stage: Stage) -> None:
    await stage.order("deliver", "raise", times=1, **stage.chosen)
    await stage.alice.tell(send(stage.envelope()))
    await internal_and_closed(stage.alice)  # the first to be woken
    assert await stage.arrived(1) == [1]


async def encode_raise(stage: Stage) -> None:
    await stage.order("encode", "raise", **stage.chosen)
    await stage.alice.send(stage.envelope())
    await internal_and_closed(stage.bob)


async def send_raise(stage: Stage) -> None:
    await stage.order("send", "raise", times=1)
    await stage.alice.tell(send(stage.envelope()))
    await internal_and_closed(stage.alice)
    assert await stage.arrived(1) == [1]


# ── delay ────────────────────────────────────────────────────────────────────────────────────


async def accept_delay(lab: Laboratory) -> None:
    lab.order("accept", "delay", seconds=SHORT_SECONDS, times=1)
    start = time.monotonic()
    await assert_others_are_served(lab)
    assert time.monotonic() - start >= SHORT_SECONDS

    lab.order("accept", "delay", seconds=LONG_SECONDS, times=1)
    asked = raw.request(raw.host_of(lab.relay.address), token=lab.clients.issuer.token("eve"))
    async with await trio.open_tcp_stream(*lab.relay.address) as stream:
        await stream.send_all(asked)
        await trio.to_thread.run_sync(lab.await_hits, 2)
        await assert_others_are_served(lab)
        with trio.move_on_after(0.1) as moment:
            await stream.receive_some()
        assert moment.cancelled_caught, "it was met at once"


async def decode_delay(stage: Stage) -> None:
    await stage.order("decode", "delay", seconds=SHORT_SECONDS, times=1)
    start = time.monotonic()
    assert await stage.alice.before_pong() == []
    assert time.monotonic() - start >= SHORT_SECONDS

    await stage.order("decode", "delay", seconds=LONG_SECONDS, times=1)
    await stage.alice.tell(ping("x"))
    await stage.await_hits(2)
    await assert_others_are_served(stage.lab)
    await no_answer_yet(stage.alice)


async def number_delay(stage: Stage) -> None:
    await conversation_waits(stage, "number")


async def before_commit_delay(stage: Stage) -> None:
    await stage.alice.send(stage.envelope())
    await stage.order("before_commit", "delay", seconds=BLOCKED_SECONDS, times=1)
    await answered_late(stage, BLOCKED_SECONDS)
    metrics = await trio.to_thread.run_sync(stage.lab.operator.metrics)
    assert metrics["ksmp_sync_seconds_sum"] >= BLOCKED_SECONDS

    await stage.order("before_commit", "delay", seconds=LONG_SECONDS, times=1)
    await stage.alice.tell(send(stage.envelope()))
    await stage.await_hits(2)
    assert await stage.bob.before_pong() != []  # the loop turns: what was there is delivered
    await no_answer_yet(stage.alice)
    metrics = await trio.to_thread.run_sync(stage.lab.operator.metrics)
    assert metrics["ksmp_commit_under_way_seconds"] > 0


async def after_commit_delay(stage: Stage) -> None:
    await stage.order("after_commit", "delay", seconds=SHORT_SECONDS, times=1)
    await answered_late(stage, SHORT_SECONDS)

    await stage.order("after_commit", "delay", seconds=LONG_SECONDS, times=1)
    await stage.alice.tell(send(stage.envelope()))
    await stage.await_hits(2)
    await no_answer_yet(stage.alice)
    await trio.to_thread.run_sync(stage.lab.relay.crash)
    async with stage.lab.clients.connect(stage.bob.user) as bob:
        assert len(await bob.resume(0)) == 3, "both were stored"


async def answered_late(stage: Stage, seconds: float) -> None:
    start = time.monotonic()
    await stage.alice.send(stage.envelope())
    assert time.monotonic() - start >= seconds


async def conversation_waits(stage: Stage, place: str) -> None:
    await stage.order(place, "delay", seconds=SHORT_SECONDS, times=1, **stage.chosen)
    await answered_late(stage, SHORT_SECONDS)

    await stage.order(place, "delay", seconds=LONG_SECONDS, times=1, **stage.chosen)
    waiting = stage.envelope()
    await stage.alice.tell(send(waiting))
    await stage.await_hits(2)
    await stage.alice.send(envelope(stage.alice.user, stage.bob.user))
    await assert_others_are_served(stage.lab)
    answered = [event.get("idempotencyKey") for event in stage.alice.kept()]
    assert waiting["idempotencyKey"] not in answered


async def the_loop_stands_still(stage: Stage, place: str) -> None:
    chosen = {} if place == "send" else stage.chosen
    before = await slow_turns(stage)
    await stage.order(place, "delay", seconds=BLOCKED_SECONDS, times=1, **chosen)
    start = time.monotonic()
    await stage.alice.send(stage.envelope())
    await stage.bob.frames(1)
    assert time.monotonic() - start >= BLOCKED_SECONDS
    while await slow_turns(stage) == before:  # noqa: ASYNC110 - it looks four times a second
        await trio.sleep(0.05)


async def slow_turns(stage: Stage) -> float:
    """How often the event loop was found a quarter of a second late."""
    metrics = await trio.to_thread.run_sync(stage.lab.operator.metrics)
    fast = metrics['ksmp_loop_lag_seconds_bucket{le="0.25"}']
    return metrics["ksmp_loop_lag_seconds_count"] - fast


def stands_still(place: str) -> Callable[[Stage], Awaitable[None]]:
    async def delay(stage: Stage) -> None:
        await the_loop_stands_still(stage, place)

    return delay


# ── drop ─────────────────────────────────────────────────────────────────────────────────────


async def accept_drop(lab: Laboratory) -> None:
    bugs = len(lines(lab.relay, "connection.failed"))
    lab.order("accept", "drop", times=1)
    await is_hung_up_on(lab)
    await assert_others_are_served(lab)
    assert len(lines(lab.relay, "connection.failed")) == bugs


async def decode_drop(stage: Stage) -> None:
    await stage.order("decode", "drop", times=2)
    await stage.alice.tell(ping("lost-1"), ping("lost-2"), ping("found"))
    assert (await stage.alice.receive())["nonce"] == "found"


async def route_drop(stage: Stage) -> None:
    sent = stage.envelope()
    await stage.order("route", "drop", times=1, **stage.chosen)
    await stage.alice.tell(send(sent))
    assert await stage.alice.before_pong() == []
    metrics = await trio.to_thread.run_sync(stage.lab.operator.metrics)
    assert metrics["ksmp_letters_under_way"] == 0
    assert await stage.bob.before_pong() == []
    assert (await stage.alice.send(sent))["serverSeq"] == 1


async def number_drop(stage: Stage) -> None:
    await refused_once(stage, "number", "outcome_unknown")


async def before_commit_drop(stage: Stage) -> None:
    await refused_once(stage, "before_commit", "storage_full")
    await logged(stage.lab, "storage.full", 0)


async def refused_once(stage: Stage, place: str, code: str) -> None:
    sent = stage.envelope()
    await stage.order(place, "drop", times=1, **stage.chosen)
    assert (await stage.alice.answer_to(sent)).event["code"] == code
    metrics = await trio.to_thread.run_sync(stage.lab.operator.metrics)
    assert metrics["ksmp_letters_under_way"] == 0
    assert await stage.bob.before_pong() == []
    assert (await stage.alice.send(sent))["serverSeq"] == 1
    assert await stage.arrived(1) == [1]


async def after_commit_drop(stage: Stage) -> None:
    sent = stage.envelope()
    await stage.order("after_commit", "drop", times=1, **stage.chosen)
    assert (await stage.alice.answer_to(sent)).event["code"] == "outcome_unknown"
    assert await stage.bob.before_pong() == []
    assert (await stage.alice.send(stage.envelope()))["serverSeq"] == 2
    assert await stage.arrived(2) == [1, 2]
    assert (await stage.alice.send(sent))["serverSeq"] == 1  # it had been stored


async def publish_drop(stage: Stage) -> None:
    bugs = len(lines(stage.lab.relay, "bug"))
    await stage.order("publish", "drop", times=1, **stage.chosen)
    await comes_with_the_next(stage)
    assert len(lines(stage.lab.relay, "bug")) == bugs


async def deliver_drop(stage: Stage) -> None:
    await stage.order("deliver", "drop", **stage.chosen)
    await stage.alice.tell(send(stage.envelope()))
    await stage.await_hits(2)  # hers, for the acknowledgement, and his, for the frame
    await no_answer_yet(stage.alice)
    await no_answer_yet(stage.bob)
    (ack,) = await stage.alice.before_pong()
    (frame,) = await stage.bob.before_pong()
    assert (ack["type"], frame["type"]) == ("ksmpv3.send.ack", "ksmpv3.inbox.frame")


async def encode_drop(stage: Stage) -> None:
    await stage.order("encode", "drop", times=1, **stage.chosen)
    for _ in range(2):
        await stage.alice.send(stage.envelope())
    (frame,) = await stage.bob.frames(1)
    assert frame.event["globalInboxSeq"] == 2
    assert frame.event["previousGlobalInboxSeq"] == 1  # which never came: a gap
    async with stage.lab.clients.connect(stage.bob.user, device="other") as again:
        assert len(await again.resume(0)) == 3


async def send_drop(stage: Stage) -> None:
    sent = stage.envelope()
    await stage.order("send", "drop", times=1)
    await stage.alice.tell(send(sent))
    assert await stage.alice.close_code() == raw.ENDED
    assert await stage.arrived(1) == [1]
    async with stage.lab.clients.connect(stage.alice.user) as again:
        assert (await again.send(sent))["serverSeq"] == 1


# ── exit ─────────────────────────────────────────────────────────────────────────────────────


async def cause_exit(stage: Stage, place: Place) -> None:
    """It ends with the code that was ordered; and the store is as the place says."""
    await stage.order(place, "exit", code=EXIT_CODE)
    if place is Place.ACCEPT:
        await is_hung_up_on(stage.lab)
    else:
        await stage.alice.tell(send(stage.envelope()))
    assert await trio.to_thread.run_sync(stage.lab.relay.wait) == EXIT_CODE
    is_stored = list(Place).index(place) >= list(Place).index(Place.AFTER_COMMIT)
    await assert_stored(stage, is_stored=is_stored)


# ── each of them, on a relay ─────────────────────────────────────────────────────────────────

ON_THE_RELAY: Final[dict[tuple[str, str], Callable[[Laboratory], Awaitable[None]]]] = {
    ("accept", "raise"): accept_raise,
    ("accept", "delay"): accept_delay,
    ("accept", "drop"): accept_drop,
}
ON_A_STAGE: Final[dict[tuple[str, str], Callable[[Stage], Awaitable[None]]]] = {
    ("decode", "raise"): decode_raise,
    ("route", "raise"): route_raise,
    ("number", "raise"): number_raise,
    ("before_commit", "raise"): before_commit_raise,
    ("after_commit", "raise"): after_commit_raise,
    ("publish", "raise"): publish_raise,
    ("deliver", "raise"): deliver_raise,
    ("encode", "raise"): encode_raise,
    ("send", "raise"): send_raise,
    ("decode", "delay"): decode_delay,
    ("route", "delay"): stands_still("route"),
    ("number", "delay"): number_delay,
    ("before_commit", "delay"): before_commit_delay,
    ("after_commit", "delay"): after_commit_delay,
    ("publish", "delay"): stands_still("publish"),
    ("deliver", "delay"): stands_still("deliver"),
    ("encode", "delay"): stands_still("encode"),
    ("send", "delay"): stands_still("send"),
    ("decode", "drop"): decode_drop,
    ("route", "drop"): route_drop,
    ("number", "drop"): number_drop,
    ("before_commit", "drop"): before_commit_drop,
    ("after_commit", "drop"): after_commit_drop,
    ("publish", "drop"): publish_drop,
    ("deliver", "drop"): deliver_drop,
    ("encode", "drop"): encode_drop,
    ("send", "drop"): send_drop,
}
DEADLY: Final = {("before_commit", "raise"), ("after_commit", "raise")}
UNFINISHED: Final = {
    (place, "delay") for place in ("accept", "decode", "number", "before_commit", "after_commit")
}
"""Someone is still being delayed at the end, and the process is killed."""

EVERY: Final = [(place, action) for action in Action for place in EFFECTS]


@pytest.mark.parametrize(("place", "action"), [one for one in EVERY if one[1] is not Action.EXIT])
async def test_what_is_ordered_is_what_happens(
    surviving: Laboratory, request: pytest.FixtureRequest, place: Place, action: Action
) -> None:
    ordered = (place.value, action.value)
    ends = ordered in DEADLY | UNFINISHED
    lab: Laboratory = request.getfixturevalue("mortal") if ends else surviving
    try:
        if ordered in ON_THE_RELAY:
            await ON_THE_RELAY[ordered](lab)
            lab.clear()
        elif ends:
            await on_a_stage_that_falls(lab, ON_A_STAGE[ordered])
        else:
            async with staged(lab) as stage:
                await ON_A_STAGE[ordered](stage)
                await stage.await_hits()
    finally:
        if ends:
            lab.relay.kill()
    assert ends or lab.relay.is_running


async def on_a_stage_that_falls(lab: Laboratory, play: Callable[[Stage], Awaitable[None]]) -> None:
    has_been_played = False
    try:
        async with staged(lab) as stage:
            await play(stage)
            has_been_played = True
            await trio.to_thread.run_sync(lab.relay.kill)
    except* (trio_websocket.ConnectionClosed, trio.BrokenResourceError):
        pass  # what closing tells of a line that is gone
    assert has_been_played


@pytest.mark.parametrize("place", list(Place))
async def test_an_exit_is_at_once_and_the_store_is_as_the_place_says(
    mortal: Laboratory, place: Place
) -> None:
    await on_a_stage_that_falls(mortal, lambda stage: cause_exit(stage, place))


async def test_every_place_and_action_is_tried() -> None:  # noqa: ASYNC124 - as its neighbours
    tried = {*ON_THE_RELAY, *ON_A_STAGE, *((place.value, "exit") for place in Place)}

    assert tried == {(place.value, action.value) for place, action in EVERY}
    assert len(tried) == 40
