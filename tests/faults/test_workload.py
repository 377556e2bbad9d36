"""One workload puts what is seldom seen to the test; with a fault planted, the checker names it.

While a disk stalls, others wait no longer than for the disk. The wall clock goes back, under way
and over a restart. Sends are left without an answer by `kill -9`. Reads are acknowledged out of
order. Nothing is judged here: the verdict on the recorded history is, by the fixture `start`.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
import trio

from tests.faults.member import Member, all_answered
from tests.faults.world import STALL_SECONDS, World
from tests.wire.connecting import Clients, StartRelay
from tests.wire.messages import send

pytestmark = pytest.mark.trio

PAIRS: Final = 4
EACH_IN_CALM: Final = 30
EACH_IN_A_STALL: Final = 30
ROUNDS: Final = 5
EACH_AT_THE_KILL: Final = 20
HOUR_MS: Final = 3_600_000

WITHOUT_RATES: Final = {"limits__sends_per_second": 1_000_000, "limits__sends_burst": 1_000_000}
RETRIED: Final = 3
NOT_THERE: Final = 10_000
POLL_SECONDS: Final = 0.005

PATIENCE_SECONDS: Final = 20.0
PATIENCE_WITH_THE_BROKEN_SECONDS: Final = 1.0

KEPT: Final = (*(f"I{number}" for number in range(1, 15)), "I17", "I18", "I21", "I23")


PLANTED: Final = {
    "a_read_cursor_is_set": "I13",
    "a_stall_loses_what_waited": "I17",
    "the_wall_clock_numbers": "I21",
    "a_restart_takes_commits_back": "I23",
}
"""What `tests.faults.launcher` plants → the promise that is broken by it."""


@pytest.mark.promises(*KEPT)
async def test_over_a_stall_a_clock_that_goes_back_and_a_kill_every_promise_is_kept(
    start: StartRelay, tmp_path: Path
) -> None:
    await work(start, tmp_path, "nothing", PATIENCE_SECONDS)


@pytest.mark.parametrize(
    "plant",
    [
        pytest.param(plant, marks=pytest.mark.promises(broken, broken=True), id=f"{broken} {plant}")
        for plant, broken in PLANTED.items()
    ],
)
async def test_the_same_workload_finds_what_is_planted(
    plant: str, start: StartRelay, tmp_path: Path
) -> None:
    await work(start, tmp_path, plant, PATIENCE_WITH_THE_BROKEN_SECONDS)


async def work(start: StartRelay, tmp_path: Path, plant: str, patience_seconds: float) -> None:
    """All of it, on a relay with this planted."""
    world = World(tmp_path / "world")
    world.directory.mkdir()
    program = (sys.executable, "-m", "tests.faults.launcher", str(world.directory), plant)
    own = start(program, **WITHOUT_RATES)
    users = [f"user-{number}" for number in range(2 * PAIRS)]
    members = [
        Member(user, users[number ^ 1], patience_seconds) for number, user in enumerate(users)
    ]
    async with everybody(own, members):
        await in_calm(own, members)
        await while_the_disk_stalls(own, members, world)
        world.shift_clock(-HOUR_MS)
        await in_turns(members)
        await leave_one_unanswered(own, *members[:2])
        await send_into_a_stall(members, world, EACH_AT_THE_KILL)
        await trio.to_thread.run_sync(own.relay.kill)
    for member in members:
        member.give_up()
    world.go_on()
    world.shift_clock(-2 * HOUR_MS)
    await trio.to_thread.run_sync(own.relay.start)
    async with everybody(own, members):
        await come_back(members)


@asynccontextmanager
async def everybody(own: Clients, members: list[Member]) -> AsyncIterator[None]:
    """All are connected."""
    async with AsyncExitStack() as stack:
        for member in members:
            await stack.enter_async_context(member.connected(own))
        yield


async def in_calm(own: Clients, members: list[Member]) -> None:
    """Everybody sends, and reads in no order; one asks for what is not there."""
    assert own.recording is not None
    with own.recording.window("baseline"):
        for member in members:
            await member.offer_new(EACH_IN_CALM)
        await all_answered(members)
    for member in members[::2]:
        await member.read(5, 3)
        await member.read(9, private=True)
        await member.read(7)
    await members[1].read(NOT_THERE)


async def while_the_disk_stalls(own: Clients, members: list[Member], world: World) -> None:
    """One commit takes until everybody has sent, which is far less than the bound."""
    assert own.recording is not None
    with own.recording.window("slow-sync", sync_ms=int(STALL_SECONDS * 1_000)):
        await send_into_a_stall(members, world, EACH_IN_A_STALL)
        world.go_on()
        await all_answered(members)


async def send_into_a_stall(members: list[Member], world: World, each: int) -> None:
    """The first send is committed and not answered, the others wait for the disk."""
    world.stall()
    await members[0].offer_new()
    with trio.fail_after(PATIENCE_SECONDS):
        while not world.is_stalled:  # noqa: ASYNC110 - another process cannot tell us
            await trio.sleep(POLL_SECONDS)
    for member in members:
        await member.offer_new(each)


async def in_turns(members: list[Member]) -> None:
    """Each sends when all before are acked."""
    for _ in range(ROUNDS):
        for member in members:
            await member.offer_new()
        await all_answered(members)


async def leave_one_unanswered(own: Clients, hasty: Member, witness: Member) -> None:
    """A send whose answer nobody waits for, but whose record is seen."""
    sent = hasty.envelope()
    async with own.connect(hasty.user, device="hasty") as peer:
        await peer.tell(send(sent))
        await witness.sees(sent["idempotencyKey"])


async def come_back(members: list[Member]) -> None:
    """Offer again half of what has no answer, and some of what has; read; go on."""
    for member in members:
        await member.offer(*member.unanswered[::2], *member.acked[:RETRIED])
    await all_answered(members)
    for member in members[::2]:
        await member.read(2)
    await in_turns(members)
