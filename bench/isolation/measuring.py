"""What an experiment has seen, out of its history alone: who has the history can count again.

Latencies are counted as the checker counts them (`bench.checker.bystanders`).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from pathlib import Path
from typing import Final

from bench.checker.bystanders import BASELINE, MS
from bench.checker.loading import load
from bench.checker.reading import HistoryError
from bench.checker.story import Story, Window
from bench.isolation.experiment import SHARES
from bench.isolation.timeline import Moment, Phase, Series, Span, Timeline
from bench.open_loop.sends import sends_of

NS: Final = 1_000_000_000


def timeline_of(history: Path, moments: Sequence[Moment]) -> Timeline:
    """The timeline of an experiment whose history is in this file.

    Raises:
        HistoryError: it is not a history, or not of such an experiment.
        OSError: it cannot be read.
    """
    return timeline_of_story(load(history), moments)


def timeline_of_story(story: Story, moments: Sequence[Moment]) -> Timeline:
    """The same, of a history that is loaded already.

    Raises:
        HistoryError: it is not of such an experiment.
    """
    baseline, fault = windows_of(story)
    zero = baseline.began_at
    ended_at = fault.ended_at + _recovery_ns(story)
    phases: dict[Phase, Span] = {
        "baseline": Span(0.0, (baseline.ended_at - zero) / NS),
        "fault": Span((fault.began_at - zero) / NS, (fault.ended_at - zero) / NS),
        "recovery": Span((fault.ended_at - zero) / NS, (ended_at - zero) / NS),
    }
    bystanders, victims = Series(), Series()
    for meant_at, offer, acked_at, delivered_at in sends_of(story):
        if zero <= meant_at < ended_at:
            is_struck = story.offers.conversation[offer] in fault.victims
            series = victims if is_struck else bystanders
            series.meant_at_s.append((meant_at - zero) / NS)
            series.ack_ms.append(_ms(acked_at, meant_at))
            series.delivery_ms.append(_ms(delivered_at, meant_at))
    return Timeline(phases, bystanders, victims, tuple(moments))


def windows_of(story: Story) -> tuple[Window, Window]:
    """The baseline and the fault.

    Raises:
        HistoryError: there are not just these two, both ended.
    """
    windows = list(story.windows.values())
    baselines = [window for window in windows if window.kind == BASELINE]
    faults = [window for window in windows if window.kind != BASELINE]
    if len(baselines) != 1 or len(faults) != 1 or faults[0].ended_at > story.ended_at:
        raise HistoryError("it is not of an isolation experiment: no baseline with one fault")
    return baselines[0], faults[0]


def baseline_began_wall_ms(story: Story) -> float:
    """By the wall clock, as far as it went evenly since the history began."""
    baseline, _ = windows_of(story)
    return story.header.wall_began_ms + baseline.began_at / MS


def _recovery_ns(story: Story) -> int:
    seconds = story.header.configuration.get("seconds")
    if not isinstance(seconds, int | float):
        raise HistoryError("it does not say how many seconds the experiment took")
    return int(seconds * SHARES["recovery"] * NS)


def _ms(at: int, meant_at: int) -> float:
    return (at - meant_at) / MS if at >= 0 else inf
