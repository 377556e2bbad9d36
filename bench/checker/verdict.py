"""How a promise is judged: what was examined, what contradicts it, and the least that shows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, NamedTuple

from msgspec import Struct

from bench.checker.index import Index
from bench.checker.story import Story

RENDERED_AT_MOST: Final = 100
"""Violations among which the smallest excerpt is looked for; the rest are counted."""

Word = Literal["ok", "violated", "not exercised"]
Show = Callable[[], list[str]]


class Verdict(Struct, frozen=True):
    """On one promise. Nothing examined is never `ok`."""

    invariant: str
    promise: str
    examined: int
    verdict: Word
    violations: int
    excerpt: tuple[str, ...]


class Examination:
    """Counts what is examined and keeps the smallest excerpt that contradicts."""

    def __init__(self) -> None:
        self.examined = 0
        self.violations = 0
        self.excerpt: tuple[str, ...] = ()

    def violated(self, show: Show) -> None:
        """The promise was broken here; `show` renders the records that say so."""
        self.violations += 1
        if self.violations > RENDERED_AT_MOST:
            return
        lines = tuple(show())
        if not self.excerpt or len(lines) < len(self.excerpt):
            self.excerpt = lines


class Invariant(NamedTuple):
    """A promise, by name and in a sentence, and who examines it."""

    name: str
    promise: str
    examine: Callable[[Story, Index, Examination], None]

    def judge(self, story: Story, index: Index) -> Verdict:
        """Examine the story for this promise."""
        examination = Examination()
        self.examine(story, index, examination)
        word: Word = "ok" if examination.examined else "not exercised"
        return Verdict(
            self.name,
            self.promise,
            examination.examined,
            "violated" if examination.violations else word,
            examination.violations,
            examination.excerpt,
        )
