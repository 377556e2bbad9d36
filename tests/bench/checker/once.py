"""A fault that happens a single time."""

from __future__ import annotations

from tests.bench.checker.tale import MS, Tale


class Once(Tale):
    """Something goes wrong a single time, when everything has begun."""

    done: bool = False

    def first_time(self, *, after_ms: int = 200) -> bool:
        """Whether it is to go wrong now."""
        if self.done or self.now < after_ms * MS:
            return False
        self.done = True
        return True
