"""What a fault in some conversations does to the others: next to nothing; see `bystanders`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bench.checker.bystanders import (
    BASELINE,
    MS,
    NEVER,
    Allowed,
    Sample,
    allowed,
    bystanders,
    first_attempts,
    percentile,
)
from bench.checker.describing import answer_line, line_at, sent_line
from bench.checker.index import Index
from bench.checker.story import Story, Window
from bench.checker.verdict import Examination, Invariant

MIN_SAMPLES: Final = 100
"""Fewer, in the baseline or in the fault, tell nothing about a 99th percentile."""


def _others_do_not_notice(story: Story, index: Index, examination: Examination) -> None:
    first_of = first_attempts(story)
    baselines = [window for window in story.windows.values() if window.kind == BASELINE]
    calm = sorted(
        sample
        for window in baselines
        for sample in bystanders(story, index.acked_at, first_of, window)
    )
    if len(calm) < MIN_SAMPLES:
        return
    for window in story.windows.values():
        if window.kind == BASELINE:
            continue
        samples = bystanders(story, index.acked_at, first_of, window)
        if len(samples) >= MIN_SAMPLES:
            examination.examined += len(samples)
            baseline_p99 = percentile(calm, 99).latency
            _judge(story, examination, window, samples, allowed(calm, window), baseline_p99)


def _judge(
    story: Story,
    examination: Examination,
    window: Window,
    samples: Sequence[Sample],
    most: Allowed,
    baseline_p99: int,
) -> None:
    found = percentile(samples, 99).latency
    if found > most.p99:

        def show() -> list[str]:
            words = f"{window.kind}: of {len(samples)} bystanders, p99 {_ms(found)}"
            return [
                line_at(window.began_at, f"the baseline's p99 is {_ms(baseline_p99)}"),
                line_at(window.began_at, f"{words}, allowed {_ms(most.p99)}"),
            ]

        examination.violated(show)
    for latency, attempt in samples:
        if latency > most.worst:

            def show_late(latency: int = latency, attempt: int = attempt) -> list[str]:
                words = f"{window.kind}: a bystander took {_ms(latency)}"
                return [
                    sent_line(story, attempt),
                    answer_line(story, attempt),
                    line_at(window.began_at, f"{words}, allowed {_ms(most.worst)}"),
                ]

            examination.violated(show_late)


def _ms(nanoseconds: int) -> str:
    return "for ever" if nanoseconds >= NEVER else f"{nanoseconds / MS:.1f} ms"


I17: Final = Invariant(
    "I17",
    "While a fault strikes some conversations, the others are acked about as fast as before.",
    _others_do_not_notice,
)
