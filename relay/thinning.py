"""A crash loop writes few lines, and says how many it did not write.

What fails on and on would fill the disk with lines that are all alike, and take the event loop's
time to write them. The metrics count every one of them all the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from ksmp.types import TimeMs

LINES_PER_SECOND: Final = 20
"""Of each event in `THINNED`, whoever it is about."""

THINNED: Final = frozenset(
    (
        "actor.failed",
        "actor.restarted",
        "actor.quarantined",
        "letter.dead",
        "connection.failed",
        "bug",
    )
)

NOTHING: Final[Mapping[str, int]] = MappingProxyType({})


class Thinning:
    """Lets through `LINES_PER_SECOND` of each event in a second of the wall clock.

    What it left out is told when that second is over: told at once it would be as many lines again.
    """

    __slots__ = ("_left_out", "_owed", "_second", "_seen", "_wall_clock")

    def __init__(self, wall_clock: Callable[[], TimeMs]) -> None:
        self._wall_clock = wall_clock
        self._second = 0
        self._seen: Counter[str] = Counter()
        self._left_out: Counter[str] = Counter()  # in this second
        self._owed: Counter[str] = Counter()  # in those before it

    def passes(self, event: str) -> bool:
        """Whether one more line of this event may be written now."""
        self._look_at_the_clock()
        self._seen[event] += 1
        if self._seen[event] <= LINES_PER_SECOND:
            return True
        self._left_out[event] += 1
        return False

    def settle(self) -> Mapping[str, int]:
        """How many lines of each event were left out in the seconds that are over; told once."""
        if self._left_out:
            self._look_at_the_clock()
        if not self._owed:
            return NOTHING
        owed, self._owed = self._owed, Counter()
        return owed

    def _look_at_the_clock(self) -> None:
        second = self._wall_clock() // 1_000
        if second != self._second:  # earlier, perhaps: the wall clock may be set back
            self._second = second
            self._seen.clear()
            self._owed.update(self._left_out)
            self._left_out.clear()
