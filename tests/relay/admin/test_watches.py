"""What is looked at all the time is known at once, and looking never piles up."""

from __future__ import annotations

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from relay.admin.watches import LAG_EVERY_SECONDS, USAGE_EVERY_SECONDS, LoopWatch, StoreWatch
from storage.usage import StoreUsage

USAGE = StoreUsage(file_bytes=1, map_bytes=2, used_bytes=1, can_grow=True, free_bytes=9)


async def test_the_lag_of_a_loop_that_is_held_up_is_by_how_long() -> None:
    clock = MockClock()

    async def watch() -> None:
        loop = LoopWatch()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(loop.run)
            await wait_all_tasks_blocked()
            clock.jump(LAG_EVERY_SECONDS)
            await wait_all_tasks_blocked()
            clock.jump(LAG_EVERY_SECONDS + 0.7)
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert dict(loop.lag_seconds.cumulative())[0.5] == 1
        assert dict(loop.lag_seconds.cumulative())[1.0] == 2
        assert abs(loop.lag_seconds.total - 0.7) < 0.001

    await trio.to_thread.run_sync(lambda: trio.run(watch, clock=clock))


async def test_usage_is_asked_for_one_question_at_a_time(autojump_clock: MockClock) -> None:
    asked, answers = 0, trio.Event()

    async def ask() -> StoreUsage:
        nonlocal asked
        asked += 1
        await answers.wait()
        return USAGE

    watch = StoreWatch(ask)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch.run)
        await trio.sleep(20 * USAGE_EVERY_SECONDS)
        assert (asked, watch.usage) == (1, None)
        answers.set()
        await trio.sleep(USAGE_EVERY_SECONDS / 2)
        assert watch.usage == USAGE
        await trio.sleep(3 * USAGE_EVERY_SECONDS)
        assert asked == 4
        nursery.cancel_scope.cancel()
