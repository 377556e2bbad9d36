"""One task that wakes for every connection's deadlines, so that none needs a task of its own.

A callback returns when it wants to be called next. Deadlines that move later all the time, as
"30 seconds after the last byte" does, cost nothing until the old one is due.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count
from math import inf
from typing import Final

import trio

TOLERATED_CANCELLED: Final = 1_000
"""So many cancelled alarms may wait for their time, and as many again as there are others."""

Ring = Callable[[float], float | None]
"""Called with the time now; returns the time of its next call, None for never again."""


class Alarm:
    """A callback with a due time. After `cancel` it is never called."""

    __slots__ = ("ring",)

    def __init__(self, ring: Ring) -> None:
        self.ring: Ring | None = ring

    def cancel(self) -> None:
        """Forget the callback, and what it holds, at once."""
        self.ring = None


class Alarms:
    """Owns the order of the deadlines. Times are Trio's clock; callbacks must not wait or raise."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Alarm]] = []
        self._numbers = count()
        self._earlier = trio.Event()
        self._sleeping_until = inf
        self._sweep_at = TOLERATED_CANCELLED

    def set(self, due: float, ring: Ring) -> Alarm:
        """Call `ring` at `due`."""
        alarm = Alarm(ring)
        self._push(due, alarm)
        return alarm

    async def run(self) -> None:
        """Ring until cancelled."""
        while True:
            self._ring_due()
            self._sleeping_until = self._due[0][0] if self._due else inf
            self._earlier = trio.Event()
            with trio.move_on_at(self._sleeping_until):
                await self._earlier.wait()

    def _ring_due(self) -> None:
        now = trio.current_time()
        while self._due and self._due[0][0] <= now:
            _, _, alarm = heapq.heappop(self._due)
            if alarm.ring is None:
                continue
            again = alarm.ring(now)
            if again is not None and alarm.ring is not None:
                self._push(max(again, now + 0.001), alarm)

    def _push(self, due: float, alarm: Alarm) -> None:
        if len(self._due) >= self._sweep_at:
            self._sweep()
        heapq.heappush(self._due, (due, next(self._numbers), alarm))
        if due < self._sleeping_until:
            self._earlier.set()

    def _sweep(self) -> None:
        """Forget those that were cancelled. Done when their number has doubled, it costs little."""
        self._due = [entry for entry in self._due if entry[2].ring is not None]
        heapq.heapify(self._due)
        self._sweep_at = 2 * len(self._due) + TOLERATED_CANCELLED
