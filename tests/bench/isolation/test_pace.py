"""What is due is sent, never early, and what comes late counts from when it was due."""

from __future__ import annotations

import asyncio

from bench.open_loop.pace import AT_ONCE, pace

MS = 1_000_000


class Clock:
    """Made-up nanoseconds; each look at it takes a microsecond."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        self.now += 1_000
        return self.now


async def paced(at_ns: list[int], clock: Clock, stalled_at: int = -1) -> list[tuple[int, int, int]]:
    """Number, when it was meant and when it was sent; one send holds up everything for 300 ms."""
    sent = []

    def send(number: int, meant_ns: int) -> None:
        sent.append((number, meant_ns, clock.now))
        if number == stalled_at:
            clock.now += 300 * MS

    async def turn_the_clock() -> None:
        while True:
            await asyncio.sleep(0)
            clock.now += MS // 10

    turning = asyncio.create_task(turn_the_clock())
    async with asyncio.timeout(30):
        await pace(at_ns, 5 * MS, send, clock)
    turning.cancel()
    return sent


def test_nothing_is_sent_before_it_is_due_and_nothing_is_left_out() -> None:
    times = [number * MS for number in range(50)]
    sent = asyncio.run(paced(times, Clock()))

    assert [(number, meant) for number, meant, _ in sent] == [
        (number, 5 * MS + at) for number, at in enumerate(times)
    ]
    assert all(meant <= at for _, meant, at in sent)


def test_what_was_due_during_a_stall_is_sent_after_it_and_counts_from_when_it_was_due() -> None:
    times = [number * MS for number in range(400)]
    sent = asyncio.run(paced(times, Clock(), stalled_at=10))
    late = {number: at - meant for number, meant, at in sent}

    assert len(sent) == 400
    assert [meant for _, meant, _ in sent] == [5 * MS + at for at in times]
    assert late[11] >= 299 * MS
    assert late[200] >= 110 * MS


def test_others_have_their_turn_while_many_are_overdue() -> None:
    async def turns_of_others() -> int:
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        await pace([0] * (10 * AT_ONCE), 0, lambda _number, _meant: None, Clock())
        counting.cancel()
        return turns

    assert asyncio.run(turns_of_others()) >= 9
