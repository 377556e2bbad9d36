"""Counts what was seen, and concludes. Whether it is isolation is the checker's word (I17)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import inf, isfinite
from typing import Final, NamedTuple

from bench.checker.bystanders import (
    MS,
    NEVER,
    Sample,
    allowed,
    percentile,
)
from bench.checker.check import Report
from bench.checker.story import Outcome, Story
from bench.isolation.experiment import Experiment
from bench.isolation.findings import Bystanders, Conclusion, Findings, Restarts, Victims
from bench.isolation.measuring import windows_of
from bench.isolation.timeline import Series, Span, Timeline

ENOUGH: Final = 10_000
"""Bystanders' sends, in the baseline and in the fault: fewer say little of a 99th percentile."""

AVAILABLE_MS: Final = 1_000.0
ISOLATION: Final = "I17"


class Costs(NamedTuple):
    """What was measured beside the history."""

    rate_per_s: float
    saturation_per_s: float | None
    generator_cpu: float
    relay_cpu: float | None
    flooder_cpu: float | None
    unread: int = 0


def findings_of(
    experiment: Experiment, story: Story, timeline: Timeline, report: Report, costs: Costs
) -> Findings:
    """What this experiment has shown; `report` is the verdict on the story."""
    bystanders = _bystanders(experiment, story, timeline)
    happened = Counter(moment.what for moment in timeline.moments)
    took = sorted(one.took_ms for one in timeline.moments if one.took_ms is not None)
    conclusion = conclude(experiment, bystanders, report, costs.unread)
    return Findings(
        fault=experiment.fault,
        conclusion=conclusion,
        ok=not costs.unread and _is_ok(conclusion, report),
        seed=experiment.seed,
        conversations=experiment.conversations,
        rate_per_s=round(costs.rate_per_s, 1),
        saturation_per_s=costs.saturation_per_s,
        seconds=experiment.seconds,
        bystanders=bystanders,
        victims=_victims(story, timeline),
        restarts=happened["restarted"],
        time_to_restart=Restarts(_at(took, 50), took[-1] if took else None),
        quarantines=happened["quarantined"],
        dead_letters=happened["dead letter"],
        generator_cpu=costs.generator_cpu,
        relay_cpu=costs.relay_cpu,
        checker=report,
        flooder_cpu=costs.flooder_cpu,
        unread=costs.unread,
    )


def conclude(
    experiment: Experiment, bystanders: Bystanders, report: Report, unread: int = 0
) -> Conclusion:
    """What may be said. A baseline in which sends got lost is none to compare with.

    A relay whose bystanders cannot even read in the end has isolated nothing, however few sends
    were measured before it was gone.
    """
    if experiment.quick:
        return "quick run, no result"
    if unread:
        return "not isolated"
    if bystanders.samples < ENOUGH or bystanders.baseline_worst_ms is None:
        return "not enough data"
    words = {one.invariant: one.verdict for one in report.verdicts}
    return "isolated" if words[ISOLATION] == "ok" else "not isolated"


def _is_ok(conclusion: Conclusion, report: Report) -> bool:
    broken = set(report.violated)
    if conclusion == "quick run, no result":
        return report.whole and report.frames > 0 and not broken - {ISOLATION}
    return conclusion == "isolated" and report.ok


# ── bystanders ───────────────────────────────────────────────────────────────────────────────────


def _bystanders(experiment: Experiment, story: Story, timeline: Timeline) -> Bystanders:
    _, window = windows_of(story)
    series = timeline.bystanders
    calm = sorted(_within(series, series.ack_ms, timeline.phases["baseline"]))
    struck = sorted(_within(series, series.ack_ms, timeline.phases["fault"]))
    most = allowed(_samples(calm), window) if calm else None
    p99, fault_p99 = _at(calm, 99), _at(struck, 99)
    return Bystanders(
        conversations=experiment.conversations - len(window.victims),
        samples=min(len(calm), len(struck)),
        baseline_p50_ms=_at(calm, 50),
        baseline_p99_ms=p99,
        baseline_worst_ms=_at(calm, 100),
        fault_p50_ms=_at(struck, 50),
        fault_p99_ms=fault_p99,
        ratio=round(fault_p99 / p99, 3) if p99 and fault_p99 else None,
        worst_ms=_at(struck, 100),
        allowed_p99_ms=None if most is None else _finite(most.p99 / MS),
        allowed_worst_ms=None if most is None else _finite(most.worst / MS),
        delivery_baseline_p99_ms=_delivery_p99(series, timeline.phases["baseline"]),
        delivery_fault_p99_ms=_delivery_p99(series, timeline.phases["fault"]),
    )


def _samples(ordered_ms: Sequence[float]) -> list[Sample]:
    """As the one formula wants them."""
    return [Sample(NEVER if ms == inf else round(ms * MS), 0) for ms in ordered_ms]


def _delivery_p99(series: Series, span: Span) -> float | None:
    return _at(sorted(_within(series, series.delivery_ms, span)), 99)


def _within(series: Series, values: Sequence[float], span: Span) -> list[float]:
    return [
        value
        for at, value in zip(series.meant_at_s, values, strict=True)
        if span.began_s <= at < span.ended_s
    ]


def _at(ordered: Sequence[float], share: int) -> float | None:
    return _finite(percentile(ordered, share)) if ordered else None


def _finite(ms: float) -> float | None:
    return round(ms, 3) if isfinite(ms) and ms < NEVER / MS else None


# ── victims ──────────────────────────────────────────────────────────────────────────────────────


def _victims(story: Story, timeline: Timeline) -> Victims:
    _, window = windows_of(story)
    acks = sorted(_within(timeline.victims, timeline.victims.ack_ms, timeline.phases["fault"]))
    in_time = sum(ms <= AVAILABLE_MS for ms in acks)
    return Victims(
        conversations=len(window.victims),
        sends=len(acks),
        acked=sum(map(isfinite, acks)),
        refused=_refusals(story),
        availability=round(in_time / len(acks), 4) if acks else None,
        fault_p99_ms=_at(acks, 99),
        recovery_ms=_recovery_ms(story),
    )


def _refusals(story: Story) -> int:
    """Of sends to victims, while the fault was on."""
    _, window = windows_of(story)
    attempts, conversations = story.attempts, story.offers.conversation
    return sum(
        outcome == Outcome.FAIL
        and window.began_at <= at < window.ended_at
        and conversations[offer] in window.victims
        for outcome, at, offer in zip(
            attempts.outcome, attempts.settled_at, attempts.offer, strict=True
        )
    )


def _recovery_ms(story: Story) -> float | None:
    """Until the last of the victims was acked again; None where that was not seen of each."""
    _, window = windows_of(story)
    attempts, conversations = story.attempts, story.offers.conversation
    first: dict[int, int] = {}
    for outcome, at, offer in zip(
        attempts.outcome, attempts.settled_at, attempts.offer, strict=True
    ):
        conversation = conversations[offer]
        if outcome == Outcome.OK and at >= window.ended_at and conversation in window.victims:
            first[conversation] = min(at, first.get(conversation, at))
    if not first or len(first) < len(window.victims):
        return None
    return round((max(first.values()) - window.ended_at) / MS, 3)
