"""How late bystanders may be while a fault strikes others: the one formula, and its samples.

A bystander is a send to a conversation that the fault does not strike. Its latency is from when it
was meant to be sent until its first ack, retries included; it counts where it was meant to be sent.

    p99 in the fault    ≤ max(1.25 × baseline p99, baseline p99 + 10 ms)
    the latest of all   ≤ max(the baseline's latest, baseline p99 + 250 ms)

While a sync takes d longer (the disk is shared): the p99 ≤ baseline p99 + 2 d + 10 ms, and the
latest of all may be 2 d later.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Final, NamedTuple, TypeVar

from bench.checker.story import Story, Window

BASELINE: Final = "baseline"
"""The window of this kind is what the others are compared with."""

MS: Final = 1_000_000
NEVER: Final = 2**62
"""The latency of a send that was never acked."""

T = TypeVar("T")


class Sample(NamedTuple):
    """A bystander: its latency in nanoseconds, its first attempt. Sorted: the latest is last."""

    latency: int
    attempt: int


class Allowed(NamedTuple):
    """In nanoseconds."""

    p99: int
    worst: int


def allowed(baseline: Sequence[Sample], window: Window) -> Allowed:
    """What bystanders may take in a window; `baseline` is sorted, and not empty."""
    p99, worst = percentile(baseline, 99).latency, baseline[-1].latency
    slower = 2 * window.sync_ms * MS
    return Allowed(
        p99 + slower + 10 * MS if slower else max(p99 * 5 // 4, p99 + 10 * MS),
        max(worst, p99 + 250 * MS) + slower,
    )


def percentile(ordered: Sequence[T], share: int) -> T:
    """The smallest that so many of 100 do not exceed; of what is sorted and not empty."""
    return ordered[-(-share * len(ordered) // 100) - 1]


def first_attempts(story: Story) -> array[int]:
    """Offer → the attempt that was its first."""
    first = array("q", [-1]) * len(story.offers.conversation)
    for attempt, offer in enumerate(story.attempts.offer):
        if first[offer] < 0:
            first[offer] = attempt
    return first


def bystanders(
    story: Story, acked_at: Sequence[int], first_of: Sequence[int], window: Window
) -> list[Sample]:
    """Each bystander in a window, the latest last; `acked_at`: offer → its first ack, or −1."""
    attempts, conversations = story.attempts, story.offers.conversation
    samples = []
    for offer, attempt in enumerate(first_of):
        if attempt < 0 or conversations[offer] in window.victims:
            continue
        meant_at = attempts.at[attempt] - attempts.late[attempt]
        if window.began_at <= meant_at < window.ended_at:
            latency = acked_at[offer] - meant_at if acked_at[offer] >= 0 else NEVER
            samples.append(Sample(latency, attempt))
    samples.sort()
    return samples
