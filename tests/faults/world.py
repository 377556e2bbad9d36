"""The world around a relay that a test moves: a wall clock that goes back, a disk that stalls.

The test and the relay's process agree over files in one directory, so that a world outlasts the
process. The relay's half is put on by `tests.faults.launcher`.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

STALL_SECONDS: Final = 10.0
"""A stalled disk goes on by itself after this long."""

POLL_SECONDS: Final = 0.005


class World:
    """Both halves of it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._clock = directory / "clock"
        self._stall = directory / "stall"
        self._stalled = directory / "stalled"

    # ── the test's half ──────────────────────────────────────────────────────────────────────

    def shift_clock(self, milliseconds: int) -> None:
        """The wall clock is off by so much from now on."""
        new = self._clock.with_suffix(".new")
        new.write_text(str(milliseconds))
        os.replace(new, self._clock)

    def stall(self) -> None:
        """The next commit takes until `go_on`."""
        self._stalled.unlink(missing_ok=True)
        self._stall.touch()

    @property
    def is_stalled(self) -> bool:
        """Whether a commit waits."""
        return self._stalled.exists()

    def go_on(self) -> None:
        """What waits goes on."""
        self._stall.unlink()

    # ── the relay's half ─────────────────────────────────────────────────────────────────────

    def wall_shift_ms(self) -> int:
        """By how much the wall clock is off."""
        return int(self._clock.read_text()) if self._clock.exists() else 0

    def wait_while_stalled(self) -> None:
        """On the storage thread, as a slow sync does."""
        deadline = time.monotonic() + STALL_SECONDS
        while self._stall.exists() and time.monotonic() < deadline:
            self._stalled.touch()
            time.sleep(POLL_SECONDS)
