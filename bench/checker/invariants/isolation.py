"""What a fault in some conversations does to the others: next to nothing.

A bystander is a send to a conversation that the fault does not strike. Its latency is from when it
was meant to be sent until its first ack, retries included; it counts where it was meant to be sent.

    p99 in the fault    ≤ max(1.25 × baseline p99, baseline p99 + 10 ms)
    the latest of all   ≤ max(the baseline's latest, baseline p99 + 250 ms)

While a sync takes d longer (the disk is shared): the p99 ≤ baseline p99 + 2 d + 10 ms, and the
latest of all may be 2 d later.
"""

from __future__ import annotations

from array import array
from typing import Final

from bench.checker.describing import answer_line, line_at, sent_line
from bench.checker.index import Index
from bench.checker.story import Story, Window
from bench.checker.verdict import Examination, Invariant

BASELINE: Final = "baseline"
MIN_SAMPLES: Final = 100
"""Fewer, in the baseline or in the fault, tell nothing about a 99th percentile."""

MS: Final = 1_000_000
NEVER: Final = 2**62
"""The latency of a send that was never acked."""


def _others_do_not_notice(story: Story, index: Index, examination: Examination) -> None:
    first_of = _first_attempts(story)
    baselines = [window for window in story.windows.values() if window.kind == BASELINE]
    calm = [sample for window in baselines for sample in _samples(story, index, first_of, window)]
    if len(calm) < MIN_SAMPLES:
        return
    calm.sort()
    p99, worst = _p99(calm), calm[-1][0]
    for window in story.windows.values():
        samples = [] if window.kind == BASELINE else _samples(story, index, first_of, window)
        if len(samples) >= MIN_SAMPLES:
            samples.sort()
            examination.examined += len(samples)
            _judge(story, examination, window, samples, p99, worst)


def _first_attempts(story: Story) -> array[int]:
    """Offer → the attempt that was its first."""
    first = array("q", [-1]) * len(story.offers.conversation)
    for attempt, offer in enumerate(story.attempts.offer):
        if first[offer] < 0:
            first[offer] = attempt
    return first


def _samples(
    story: Story, index: Index, first_of: array[int], window: Window
) -> list[tuple[int, int]]:
    """Latency and attempt of each bystander in a window."""
    attempts, conversations = story.attempts, story.offers.conversation
    samples = []
    for offer, attempt in enumerate(first_of):
        if attempt < 0 or conversations[offer] in window.victims:
            continue
        meant_at = attempts.at[attempt] - attempts.late[attempt]
        if window.began_at <= meant_at < window.ended_at:
            acked_at = index.acked_at[offer]
            samples.append((acked_at - meant_at if acked_at >= 0 else NEVER, attempt))
    return samples


def _p99(samples: list[tuple[int, int]]) -> int:
    """The smallest latency that 99 of 100 do not exceed; of sorted samples."""
    return samples[-(-99 * len(samples) // 100) - 1][0]


def _judge(
    story: Story,
    examination: Examination,
    window: Window,
    samples: list[tuple[int, int]],
    p99: int,
    worst: int,
) -> None:
    slower = 2 * window.sync_ms * MS
    allowed = p99 + slower + 10 * MS if slower else max(p99 * 5 // 4, p99 + 10 * MS)
    latest = max(worst, p99 + 250 * MS) + slower
    if _p99(samples) > allowed:
        found = _p99(samples)

        def show() -> list[str]:
            words = f"{window.kind}: of {len(samples)} bystanders, p99 {_ms(found)}"
            return [
                line_at(window.began_at, f"the baseline's p99 is {_ms(p99)}"),
                line_at(window.began_at, f"{words}, allowed {_ms(allowed)}"),
            ]

        examination.violated(show)
    for latency, attempt in samples:
        if latency > latest:

            def show_late(latency: int = latency, attempt: int = attempt) -> list[str]:
                words = f"{window.kind}: a bystander took {_ms(latency)}, allowed {_ms(latest)}"
                return [
                    sent_line(story, attempt),
                    answer_line(story, attempt),
                    line_at(window.began_at, words),
                ]

            examination.violated(show_late)


def _ms(nanoseconds: int) -> str:
    return "for ever" if nanoseconds >= NEVER else f"{nanoseconds / MS:.1f} ms"


I17: Final = Invariant(
    "I17",
    "While a fault strikes some conversations, the others are acked about as fast as before.",
    _others_do_not_notice,
)
