"""How fast someone may go: a bucket of tokens, and a count of strikes."""

from __future__ import annotations


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

    def is_full(self, now: float) -> bool:
        """Whether it holds no memory of what was taken."""
        return self._tokens + (now - self._updated) * self._per_second >= self._burst


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
