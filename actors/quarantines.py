"""Which conversations are left alone, for how long, and how often they were before.

Each quarantine of a conversation is four times as long as the one before. That is forgotten once
it has been good for `FORGOTTEN_AFTER_SECONDS`, and when an operator lets it live again. It outlives
the conversation's task: passivation and activation change nothing about it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import trio

from ksmp.types import ConversationKey

FIRST_SECONDS: Final = 1.0
GROWTH: Final = 4.0
LONGEST_SECONDS: Final = 300.0
FORGOTTEN_AFTER_SECONDS: Final = 300.0
"""How long after its end a quarantine still makes the next one longer."""
MOST_QUARANTINES: Final = 4_096
"""How many are remembered: whoever can crash conversations can crash many."""


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A conversation that is left alone, for so many seconds yet, for the n-th time."""

    key: ConversationKey
    seconds: float
    times: int


@dataclass(frozen=True, slots=True)
class _Quarantine:
    until: float
    times: int


class Quarantines:
    """Remembers at most `MOST_QUARANTINES`; past that, the one that began longest ago goes free."""

    def __init__(self) -> None:
        self._by_key: OrderedDict[ConversationKey, _Quarantine] = OrderedDict()

    def __len__(self) -> int:
        """How many are remembered, those that are over included."""
        return len(self._by_key)

    def begin(self, key: ConversationKey) -> Quarantined:
        """Leave the conversation alone from now on, for longer than the last time."""
        before = self._by_key.pop(key, None)
        if len(self._by_key) >= MOST_QUARANTINES:
            self._by_key.popitem(last=False)
        times = before.times + 1 if before else 1
        seconds = min(FIRST_SECONDS * GROWTH ** (times - 1), LONGEST_SECONDS)
        self._by_key[key] = _Quarantine(trio.current_time() + seconds, times)
        return Quarantined(key, seconds, times)

    def end(self, key: ConversationKey) -> bool:
        """Let it live again, as if it had never failed; False where it was free already."""
        was_left_alone = self.seconds_left(key) > 0
        self._by_key.pop(key, None)
        return was_left_alone

    def seconds_left(self, key: ConversationKey) -> float:
        """For how long yet it is left alone; 0.0 where it is not."""
        quarantine = self._by_key.get(key)
        if quarantine is None:
            return 0.0
        return max(0.0, quarantine.until - trio.current_time())

    @property
    def present(self) -> Sequence[Quarantined]:
        """Those that are not over, the one that began longest ago first."""
        now = trio.current_time()
        return tuple(
            Quarantined(key, quarantine.until - now, quarantine.times)
            for key, quarantine in self._by_key.items()
            if quarantine.until > now
        )

    def forget_the_old(self) -> None:
        """Forget those that have been over for long."""
        since = trio.current_time() - FORGOTTEN_AFTER_SECONDS
        for key, quarantine in list(self._by_key.items()):
            if quarantine.until < since:
                del self._by_key[key]
