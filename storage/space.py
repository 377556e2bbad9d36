"""Noticing that the store has become full, and that it stores again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import trio

from storage.log import Appended, Full, Outcome

QUIET_SECONDS: Final = 10.0
"""Without a refusal for so long, the store counts as recovered."""


class SpaceWatch:
    """Tells of each change once, however often the disk hovers about its limit meanwhile."""

    def __init__(self, on_space: Callable[[bool], None]) -> None:
        """`on_space` gets False at the first refusal, True when something is stored again."""
        self._on_space = on_space
        self._refused_at: float | None = None

    def note(self, outcomes: Sequence[Outcome]) -> None:
        """Look at what became of one transaction."""
        if any(isinstance(outcome, Full) for outcome in outcomes):
            has_begun = self._refused_at is None
            self._refused_at = trio.current_time()
            if has_begun:
                self._on_space(False)
        elif self._has_been_quiet() and any(isinstance(outcome, Appended) for outcome in outcomes):
            self._refused_at = None
            self._on_space(True)

    def _has_been_quiet(self) -> bool:
        """Whether the last refusal that is still to be taken back is long enough ago."""
        if self._refused_at is None:
            return False
        return trio.current_time() >= self._refused_at + QUIET_SECONDS
