"""Doing something for each of many, a few at a time, and within a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import TypeVar

from bench.process import LoadError

E = TypeVar("E")


async def for_each(
    all_of_them: Iterable[E],
    do: Callable[[E], Awaitable[None]],
    at_once: int,
    done: Callable[[int], None] = lambda _: None,
) -> None:
    """Never more than so many `at_once`; `done` is told how many are, after each."""
    waiting: Iterator[E] = iter(all_of_them)
    count = 0

    async def one_after_the_other() -> None:
        nonlocal count
        for one in waiting:
            await do(one)
            count += 1
            done(count)

    await asyncio.gather(*(one_after_the_other() for _ in range(at_once)))


@asynccontextmanager
async def in_time(step: str, seconds: float) -> AsyncIterator[None]:
    """The block has so long.

    Raises:
        LoadError: that was not enough.
    """
    time = asyncio.timeout(seconds)
    try:
        async with time:
            yield
    except TimeoutError:
        raise LoadError(f"{step} took more than {seconds:.0f} seconds") from None
