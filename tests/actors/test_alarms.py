"""Every alarm rings when it is due, once per due time, and never after it was cancelled."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from actors.alarms import TOLERATED_CANCELLED, Alarms


class Rings:
    """Records when it was called, and answers with the times it was given."""

    def __init__(self, *again: float | None) -> None:
        self.at: list[float] = []
        self._again = list(again)

    def __call__(self, now: float) -> float | None:
        self.at.append(now)
        return self._again.pop(0) if self._again else None


@asynccontextmanager
async def running() -> AsyncIterator[Alarms]:
    alarms = Alarms()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(alarms.run)
        yield alarms
        nursery.cancel_scope.cancel()


async def test_an_alarm_rings_when_it_is_due_and_not_before(autojump_clock: MockClock) -> None:
    rings = Rings()
    async with running() as alarms:
        alarms.set(5.0, rings)
        await trio.sleep(4.9)
        before = list(rings.at)
        await trio.sleep(10)

    assert before == []
    assert rings.at == [5.0]


async def test_an_earlier_alarm_rings_first_though_it_was_set_later(
    autojump_clock: MockClock,
) -> None:
    late, early = Rings(), Rings()
    async with running() as alarms:
        alarms.set(50.0, late)
        await trio.sleep(1)
        alarms.set(2.0, early)
        await trio.sleep(2)

    assert (early.at, late.at) == ([2.0], [])


async def test_an_alarm_rings_again_when_it_asks_to(autojump_clock: MockClock) -> None:
    rings = Rings(3.0, 7.0, None)
    async with running() as alarms:
        alarms.set(1.0, rings)
        await trio.sleep(100)

    assert rings.at == [1.0, 3.0, 7.0]


async def test_a_cancelled_alarm_never_rings_and_forgets_its_callback(
    autojump_clock: MockClock,
) -> None:
    rings = Rings()
    async with running() as alarms:
        alarm = alarms.set(5.0, rings)
        await trio.sleep(1)
        alarm.cancel()
        await trio.sleep(100)

    assert rings.at == []
    assert alarm.ring is None


async def test_an_alarm_that_cancels_itself_while_it_rings_does_not_ring_again(
    autojump_clock: MockClock,
) -> None:
    rung: list[float] = []

    def ring(now: float) -> float:
        rung.append(now)
        alarm.cancel()
        return now + 1

    async with running() as alarms:
        alarm = alarms.set(1.0, ring)
        await trio.sleep(100)

    assert rung == [1.0]


async def test_an_alarm_that_asks_for_the_past_does_not_keep_the_others_from_ringing(
    autojump_clock: MockClock,
) -> None:
    impatient: Callable[[float], float] = lambda _now: 0.0  # noqa: E731
    other = Rings()
    async with running() as alarms:
        alarms.set(1.0, impatient)
        alarms.set(1.5, other)
        await trio.sleep(3)

    assert other.at == [1.5]


async def test_alarms_set_while_none_runs_ring_once_one_does(autojump_clock: MockClock) -> None:
    """So that a restart by the supervisor forgets nobody."""
    overdue, due_later = Rings(), Rings()
    alarms = Alarms()
    alarms.set(1.0, overdue)
    alarms.set(20.0, due_later)
    await trio.sleep(10)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(alarms.run)
        await trio.sleep(15)
        nursery.cancel_scope.cancel()

    assert (overdue.at, due_later.at) == ([10.0], [20.0])


@given(dues=st.lists(st.integers(0, 50), max_size=30), cancelled=st.sets(st.integers(0, 29)))
def test_any_number_of_alarms_ring_in_the_order_of_their_times(
    dues: list[int], cancelled: set[int]
) -> None:
    rung: list[tuple[float, int]] = []

    async def main() -> None:
        async with running() as alarms:
            for index, due in enumerate(dues):
                alarm = alarms.set(due, lambda now, index=index: rung.append((now, index)))  # type: ignore[misc]
                if index in cancelled:
                    alarm.cancel()
            await trio.sleep(100)

    trio.run(main, clock=MockClock(autojump_threshold=0))

    expected = [(due, index) for index, due in enumerate(dues) if index not in cancelled]
    assert sorted(rung) == sorted(expected)
    assert [now for now, _ in rung] == sorted(now for now, _ in rung)


async def test_cancelled_alarms_do_not_pile_up_until_their_time(autojump_clock: MockClock) -> None:
    """So connections that come and go all the time leave nothing that grows with their number."""
    kept = [Rings() for _ in range(10)]
    async with running() as alarms:
        for rings in kept:
            alarms.set(50.0, rings)
        most = 0
        for _ in range(20_000):
            alarms.set(30.0, Rings()).cancel()
            most = max(most, len(alarms._due))
        await trio.sleep(60)

    assert most <= TOLERATED_CANCELLED + 2 * len(kept)
    assert [rings.at for rings in kept] == [[50.0]] * 10
