"""How long reads take, and since when the present one has been under way."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from storage.commit_meter import SECONDS_BOUNDS
from storage.histogram import Histogram

T = TypeVar("T")


class ReadMeter:
    """The thread that reads has its jobs measured; any thread may ask. Seconds are `clock`'s."""

    def __init__(self, clock: Callable[[], float] = lambda: 0.0) -> None:
        """`clock` is monotonic and for any thread; without one, all durations are 0."""
        self._clock = clock
        self._since: float | None = None
        self.seconds = Histogram(SECONDS_BOUNDS)

    @property
    def under_way_seconds(self) -> float:
        """How long the present read has been under way; 0.0 where there is none."""
        since = self._since  # read once: the thread that reads may end it meanwhile
        return 0.0 if since is None else max(0.0, self._clock() - since)

    def measure(self, job: Callable[[], T]) -> T:
        """What `job` returns."""
        begun = self._since = self._clock()
        try:
            return job()
        finally:
            self._since = None
            self.seconds.observe(self._clock() - begun)
