"""How fast someone may go: tokens, what is allowed to a user, strikes, a window of time."""

from __future__ import annotations

from collections import deque
from typing import Final


def retry_after_ms(seconds: float) -> int:
    """The hint for whoever has to wait that long: whole milliseconds, and never too soon."""
    return 1 + int(seconds * 1_000)


class TokenBucket:
    """`burst` at once, then `per_second` on average. Time is Trio's clock, handed in."""

    __slots__ = ("_burst", "_per_second", "_tokens", "_updated")

    def __init__(self, per_second: float, burst: float, now: float) -> None:
        self._per_second = per_second
        self._burst = burst
        self._tokens = burst
        self._updated = now

    def take(self, now: float) -> float:
        """Take one token: 0.0, or the seconds until there will be one, and none taken."""
        tokens = self._tokens
        if now > self._updated:  # connections that share a bucket may come a little late
            tokens = min(self._burst, tokens + (now - self._updated) * self._per_second)
            self._updated = now
        if tokens >= 1.0:
            self._tokens = tokens - 1.0
            return 0.0
        self._tokens = tokens
        return (1.0 - tokens) / self._per_second

    @property
    def taken(self) -> float:
        """How many tokens were missing when one was last asked for."""
        return self._burst - self._tokens

    def is_full(self, now: float) -> bool:
        """Whether it holds no memory of what was taken."""
        return self._tokens + (now - self._updated) * self._per_second >= self._burst


class Pace:
    """So many per second, of all who share it; whoever is too fast is told how long to pause.

    Unlike a bucket it takes everything, and remembers the debt.
    """

    __slots__ = ("_owed", "_per_second", "_updated")

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._owed = 0.0
        self._updated = 0.0

    def charge(self, now: float) -> float:
        """Count one; the seconds until all that was counted is paid for."""
        self._owed = max(0.0, self._owed - (now - self._updated) * self._per_second) + 1.0
        self._updated = now
        return self._owed / self._per_second


FLOOD_FACTOR: Final = 10
"""At how many times the rate of sends it is a flood."""


class Allowance:
    """What one user may send, all devices together, and how much more before it is a flood.

    It outlives connections: whoever is cut off and comes back finds it as it was.
    """

    __slots__ = ("refusals", "sends")

    def __init__(self, per_second: float, burst: float, now: float) -> None:
        self.sends = TokenBucket(per_second, burst, now)
        beyond = FLOOD_FACTOR - 1
        self.refusals = TokenBucket(beyond * per_second, beyond * burst, now)

    def is_full(self, now: float) -> bool:
        """Whether it holds no memory of what was taken."""
        return self.sends.is_full(now) and self.refusals.is_full(now)


class Strikes:
    """Too many of something within a period: `allowed` are tolerated, the next is one too many."""

    __slots__ = ("_allowed", "_period_seconds", "_times")

    def __init__(self, allowed: int, period_seconds: float) -> None:
        self._allowed = allowed
        self._period_seconds = period_seconds
        self._times: list[float] = []

    def strike(self, now: float) -> bool:
        """Count one; whether it was one too many."""
        self._times.append(now)
        while self._times[0] <= now - self._period_seconds:
            del self._times[0]
        return len(self._times) > self._allowed


class Window:
    """At most so many of something within any period, ending now or at any time before.

    What happens within a sixtieth of the period is remembered as one and leaves together, when the
    last of it is a period old: so memory is bounded, and the limit is kept to the letter.
    """

    __slots__ = ("_count", "_period_seconds", "_slices")

    def __init__(self, period_seconds: float) -> None:
        self._period_seconds = period_seconds
        self._slices: deque[_Slice] = deque()
        self._count = 0

    def wait(self, limit: int, now: float) -> float:
        """0.0 where one more is within `limit`, or the seconds until it will be."""
        self._forget(now)
        excess = self._count + 1 - limit
        if excess <= 0:
            return 0.0
        for slice_ in self._slices:
            excess -= slice_.count
            if excess <= 0:
                return slice_.last + self._period_seconds - now
        raise ValueError("a limit of nothing")

    def count(self, now: float) -> None:
        """One more has happened."""
        self._forget(now)
        self._count += 1
        if self._slices and now < self._slices[-1].first + self._period_seconds / 60:
            self._slices[-1].last = now
            self._slices[-1].count += 1
        else:
            self._slices.append(_Slice(now))

    def take_back(self) -> None:
        """One of those counted did not happen after all: the oldest is counted no more.

        Which of them it was is not remembered. The others leave no earlier than they should.
        """
        if self._slices:  # else it has left by itself
            self._count -= 1
            self._slices[0].count -= 1
            if not self._slices[0].count:
                self._slices.popleft()

    def is_empty(self, now: float) -> bool:
        """Whether it remembers nothing."""
        self._forget(now)
        return not self._count

    def _forget(self, now: float) -> None:
        while self._slices and self._slices[0].last <= now - self._period_seconds:
            self._count -= self._slices.popleft().count


class _Slice:
    """What happened between two times that are close together."""

    __slots__ = ("count", "first", "last")

    def __init__(self, now: float) -> None:
        self.first = self.last = now
        self.count = 1
