"""How long commits take, how much is in one, and since when the present one has been under way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from storage.histogram import Histogram

SECONDS_BOUNDS: Final = (
    *(0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
OPERATIONS_BOUNDS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024)


class CommitMeter:
    """The storage thread tells what it does; any thread reads. Seconds are those of `clock`."""

    def __init__(self, clock: Callable[[], float] = lambda: 0.0) -> None:
        """`clock` is monotonic and for any thread; without one, all durations are 0."""
        self._clock = clock
        self._since: float | None = None
        self._held_since: float | None = None
        self._sync_since = 0.0
        self.operations = Histogram(OPERATIONS_BOUNDS)
        self.seconds = Histogram(SECONDS_BOUNDS)
        self.sync_seconds = Histogram(SECONDS_BOUNDS)

    @property
    def under_way_seconds(self) -> float:
        """How long the present transaction has been under way, or has been held back from it.

        0.0 where there is none.
        """
        # Each is read once: the storage thread may end the one meanwhile, the event loop the other.
        since, held_since = self._since, self._held_since
        if since is None or (held_since is not None and held_since < since):
            since = held_since
        return 0.0 if since is None else max(0.0, self._clock() - since)

    def hold(self, is_held: bool) -> None:
        """Commits wait for the tables to catch up, or do no longer. The event loop says so."""
        if not is_held:
            self._held_since = None
        elif self._held_since is None:
            self._held_since = self._clock()

    def begin(self) -> None:
        """A transaction begins."""
        self._since = self._clock()

    def sync(self) -> None:
        """The engine is about to write it and to wait for the disk."""
        self._sync_since = self._clock()

    def synced(self, operations: int) -> None:
        """The disk has it: `operations` of them at once."""
        now = self._clock()
        self.operations.observe(operations)
        self.sync_seconds.observe(now - self._sync_since)
        self.seconds.observe(now - (self._sync_since if self._since is None else self._since))

    def end(self) -> None:
        """It is over, whatever became of it."""
        self._since = None
