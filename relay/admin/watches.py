"""What must be looked at all the time to be known when somebody asks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import trio

from storage.commit_meter import SECONDS_BOUNDS
from storage.histogram import Histogram
from storage.usage import StoreUsage

LAG_EVERY_SECONDS: Final = 0.25
USAGE_EVERY_SECONDS: Final = 1.0


class LoopWatch:
    """Measures how late the event loop is: by how much a sleep lasts longer than it should."""

    def __init__(self) -> None:
        self.lag_seconds = Histogram(SECONDS_BOUNDS)

    async def run(self) -> None:
        """Measure until cancelled."""
        while True:
            due = trio.current_time() + LAG_EVERY_SECONDS
            await trio.sleep_until(due)
            self.lag_seconds.observe(max(0.0, trio.current_time() - due))


class StoreWatch:
    """Knows the store's usage as it was a moment ago, so that nobody who asks has to wait."""

    def __init__(self, ask: Callable[[], Awaitable[StoreUsage | None]]) -> None:
        self._ask = ask
        self.usage: StoreUsage | None = None

    async def run(self) -> None:
        """Ask again and again, one question at a time, until cancelled."""
        while True:
            self.usage = await self._ask()
            await trio.sleep(USAGE_EVERY_SECONDS)
