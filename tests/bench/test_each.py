"""Doing something for each of many: how many at once, who is told, when it takes too long."""

from __future__ import annotations

import asyncio

import pytest

from bench.each import for_each, in_time
from bench.process import LoadError


def test_each_has_its_turn_once_and_no_more_than_allowed_at_once() -> None:
    did: list[int] = []
    told: list[int] = []
    now = most = 0

    async def do(number: int) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0)
        now -= 1
        did.append(number)

    asyncio.run(for_each(range(20), do, 3, told.append))

    assert sorted(did) == list(range(20))
    assert told == list(range(1, 21))
    assert most == 3


def test_what_fails_for_one_fails_for_all() -> None:
    async def do(number: int) -> None:  # noqa: ASYNC124 - as `for_each` takes it
        if number == 2:
            raise LoadError("not that one")

    with pytest.raises(LoadError, match="not that one"):
        asyncio.run(for_each(range(5), do, 2))


def test_what_takes_too_long_is_said_with_its_name() -> None:
    async def wait_for_ever() -> None:
        async with in_time("connecting", 0.01):
            await asyncio.Event().wait()

    with pytest.raises(LoadError, match="connecting took more than 0 seconds"):
        asyncio.run(wait_for_ever())
