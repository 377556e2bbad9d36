"""All promises, judged on one history."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from msgspec import Struct

from bench.checker.index import build
from bench.checker.invariants import ALL
from bench.checker.loading import load
from bench.checker.order import Order, order_of
from bench.checker.story import Story
from bench.checker.verdict import Verdict

LOADING: Final = 0.4
"""Of the time that it takes to judge a history, about as much goes into reading it."""

Progress = Callable[[float], None]
"""Is told the share that is done, again and again."""


class Report(Struct, frozen=True):
    """The verdict on a history; as JSON this is what `--json` prints.

    `whole`: the recording was ended, and not cut off. `ok`: it is whole, something was examined,
    and nothing was found broken; look at the verdicts for what was not exercised.
    """

    relay: str
    seed: int | None
    seconds: float
    records: int
    sends: int
    frames: int
    restarts: int
    whole: bool
    ok: bool
    order: Order
    verdicts: tuple[Verdict, ...]

    @property
    def violated(self) -> tuple[str, ...]:
        """The promises that were seen broken, by name."""
        return self._named("violated")

    @property
    def not_exercised(self) -> tuple[str, ...]:
        """The promises of which this history says nothing."""
        return self._named("not exercised")

    def _named(self, word: str) -> tuple[str, ...]:
        return tuple(one.invariant for one in self.verdicts if one.verdict == word)


def _nobody_waits(share: float) -> None:
    pass


def check(path: Path, progress: Progress = _nobody_waits) -> Report:
    """The report on the history in a file.

    Raises:
        HistoryError: it is not a history, or contradicts itself.
        OSError: it cannot be read.
    """
    progress(0.0)
    story = load(path, lambda share: progress(LOADING * share))
    report = judge(story, lambda share: progress(LOADING + (1 - LOADING) * share))
    progress(1.0)
    return report


def judge(story: Story, progress: Progress = _nobody_waits) -> Report:
    """The report on a story."""
    progress(0.0)
    index = build(story)
    verdicts = []
    for done, invariant in enumerate(ALL, 1):
        progress(done / (len(ALL) + 1))
        verdicts.append(invariant.judge(story, index))
    is_clean = all(one.verdict != "violated" for one in verdicts)
    return Report(
        relay=story.header.relay,
        seed=story.header.seed,
        seconds=round(story.ended_at / 1e9, 3),
        records=story.records,
        sends=len(story.attempts.at),
        frames=len(story.frames.at),
        restarts=len(story.ups),
        whole=story.is_whole,
        ok=story.is_whole and is_clean and any(one.examined for one in verdicts),
        order=order_of(story, _violations(verdicts, "I3")),
        verdicts=tuple(verdicts),
    )


def _violations(verdicts: Iterable[Verdict], name: str) -> int:
    return next(one.violations for one in verdicts if one.invariant == name)
