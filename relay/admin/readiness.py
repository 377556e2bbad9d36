"""Whether the relay can do its work now, and if not, why not."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Final

from storage.commit_meter import CommitMeter
from storage.read_meter import ReadMeter
from storage.usage import StoreUsage

NEARLY_FULL_DISK: Final = 2
"""So many times the space below which nothing is stored: time to act is left."""

NEARLY_FULL_MAP: Final = 0.9
"""Of a map that could not be made larger."""


class Phase(Enum):
    """Where in its life the relay is."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"


class Readiness:
    """Owns the relay's phase, and judges its store. All in one step: it never waits."""

    def __init__(
        self,
        meter: CommitMeter,
        read_meter: ReadMeter,
        *,
        sync_stall_seconds: float,
        min_free_bytes: int,
    ) -> None:
        self._meter = meter
        self._read_meter = read_meter
        self.phase = Phase.STARTING
        self.has_space = True
        self.adopt(sync_stall_seconds=sync_stall_seconds, min_free_bytes=min_free_bytes)

    def adopt(self, *, sync_stall_seconds: float, min_free_bytes: int) -> None:
        """Judge by these from now on."""
        self._sync_stall_seconds = sync_stall_seconds
        self._min_free_bytes = min_free_bytes

    @property
    def is_stalled(self) -> bool:
        """Whether the present commit takes longer than it may."""
        return self._meter.under_way_seconds > self._sync_stall_seconds

    def reasons(self, usage: StoreUsage | None) -> list[str]:
        """Why the relay is not ready, in words that never change; none where it is."""
        phase = [] if self.phase is Phase.READY else [self.phase.value]
        return [*phase, *self._of_the_store(usage)]

    def _of_the_store(self, usage: StoreUsage | None) -> Iterator[str]:
        if self.is_stalled:
            yield "sync_stalled"
        if self._read_meter.under_way_seconds > self._sync_stall_seconds:
            yield "reads_stalled"
        if not self.has_space:
            yield "storage_full"
        if usage is None:
            return
        if usage.free_bytes < NEARLY_FULL_DISK * self._min_free_bytes:
            yield "disk_nearly_full"
        if not usage.can_grow and usage.used_bytes >= NEARLY_FULL_MAP * usage.map_bytes:
            yield "map_nearly_full"
