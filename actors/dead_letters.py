"""The letters that crashed a turn alone: the latest of them, without anything of their content."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from actors.letters import Letter
from actors.telemetry import Hashed, Telemetry, hashed_conversation
from ksmp.types import TimeMs

DEAD_LETTERS: Final = 256
"""How many are remembered; of older ones only their number is."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One of them: when, of which kind, for which conversation, and what it made the turn raise."""

    at_ms: TimeMs
    kind: str
    conversation: Hashed
    error: str = "unknown"
    at: str = "unknown"


class DeadLetters:
    """Remembers the latest `DEAD_LETTERS`, and how many there have been."""

    __slots__ = ("_latest", "total")

    def __init__(self) -> None:
        self._latest: deque[DeadLetter] = deque(maxlen=DEAD_LETTERS)
        self.total = 0

    def add(self, letter: DeadLetter) -> None:
        """Remember one more, and forget the oldest where there are too many."""
        self._latest.append(letter)
        self.total += 1

    def bury(
        self, letter: Letter, at_ms: TimeMs, failure: Mapping[str, str], telemetry: Telemetry
    ) -> None:
        """Answer `letter` with `rejected`, say so, and remember what it made its turn raise."""
        conversation, kind = hashed_conversation(letter.conversation), type(letter).__name__
        telemetry.error("letter.dead", conversation=conversation, kind=kind)
        self.add(DeadLetter(at_ms, kind, conversation, **failure))
        letter.refuse("rejected")

    @property
    def latest(self) -> Sequence[DeadLetter]:
        """The oldest of them first."""
        return tuple(self._latest)
