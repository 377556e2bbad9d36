"""The findings say what the history holds, and the checker's word is theirs."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from msgspec import structs

from bench.checker.check import Report, judge
from bench.checker.loading import load
from bench.isolation.experiment import Experiment
from bench.isolation.findings import Bystanders, Findings
from bench.isolation.judging import ENOUGH, Costs, conclude, findings_of
from bench.isolation.measuring import timeline_of_story
from bench.isolation.timeline import Moment
from tests.bench.isolation.paper import Paper

EXPERIMENT = Experiment("flood", 2, 1, 25.0, 100.0, seed=1, quick=False)
COSTS = Costs(100.0, None, 0.1, 0.2, None)


def findings_on(
    paper: Paper, moments: tuple[Moment, ...] = (), experiment: Experiment = EXPERIMENT
) -> Findings:
    story = load(paper.write())
    return findings_of(experiment, story, timeline_of_story(story, moments), judge(story), COSTS)


def bystanders_acked_after(path: Path, calm_s: float, struck_s: float | None) -> Paper:
    """A hundred in the baseline and two hundred in the fault, three of which fare as told."""
    paper = Paper(path)
    for number in range(100):
        paper.send(1, 0.05 * number, acked_after_s=calm_s)
    for number in range(200):
        if number % 67:
            paper.send(1, 10.0 + 0.04 * number, acked_after_s=calm_s)
        else:  # and most of the time it could not even go out
            late_s = 0.01 if struck_s is None else struck_s - 0.001
            paper.send(1, 10.0 + 0.04 * number, late_s=late_s, acked_after_s=struck_s)
    return paper


def word(report: Report) -> str:
    return next(one.verdict for one in report.verdicts if one.invariant == "I17")


@pytest.mark.parametrize(
    ("struck_s", "verdict"), [(0.0119, "ok"), (0.0121, "violated"), (None, "violated")]
)
def test_the_figures_are_those_by_which_the_checker_judges(
    tmp_path: Path, struck_s: float | None, verdict: str
) -> None:
    found = findings_on(bystanders_acked_after(tmp_path / "history", 0.002, struck_s))
    seen = found.bystanders

    assert word(found.checker) == verdict
    assert seen.baseline_p99_ms == pytest.approx(2.0)
    assert seen.allowed_p99_ms == pytest.approx(12.0)
    assert seen.allowed_worst_ms == pytest.approx(252.0)
    is_within = seen.fault_p99_ms is not None and seen.fault_p99_ms <= 12.0
    assert is_within == (verdict == "ok")


def test_a_bystander_who_was_never_acked_is_infinitely_late_which_is_null_in_json(
    tmp_path: Path,
) -> None:
    paper = bystanders_acked_after(tmp_path / "history", 0.002, 0.002)
    paper.send(1, 19.0, acked_after_s=None)
    found = findings_on(paper)
    told = msgspec.json.decode(msgspec.json.encode(found))

    assert told["bystanders"]["worst_ms"] is None
    assert told["bystanders"]["fault_p99_ms"] == pytest.approx(2.0)
    assert word(found.checker) == "violated"
    assert msgspec.json.decode(msgspec.json.encode(found), type=Findings) == found


def test_a_slower_sync_allows_twice_as_much_more(tmp_path: Path) -> None:
    paper = Paper(tmp_path / "history", victims=(), sync_ms=20)
    for number in range(400):
        paper.send(number % 2, 0.05 * number, acked_after_s=0.002)
    seen = findings_on(paper).bystanders

    assert seen.allowed_p99_ms == pytest.approx(2 + 2 * 20 + 10)
    assert seen.allowed_worst_ms == pytest.approx(2 + 250 + 2 * 20)


def test_availability_is_the_share_acked_within_a_second_of_the_intended_time(
    tmp_path: Path,
) -> None:
    paper = Paper(tmp_path / "history")
    paper.send(0, 11.0, acked_after_s=0.5)
    paper.send(0, 12.0, late_s=0.7, acked_after_s=1.1)
    paper.send(0, 13.0, acked_after_s=None)
    paper.send(0, 14.0, refused_after_s=0.1, acked_after_s=0.9)
    paper.send(0, 5.0, acked_after_s=None)  # in the baseline: nothing strikes it yet
    victims = findings_on(paper).victims

    assert (victims.sends, victims.acked, victims.refused) == (4, 3, 1)
    assert victims.availability == pytest.approx(0.5)
    assert victims.fault_p99_ms is None


def test_without_victims_there_is_no_availability(tmp_path: Path) -> None:
    paper = Paper(tmp_path / "history", victims=())
    paper.send(0, 11.0)
    victims = findings_on(paper).victims

    assert (victims.conversations, victims.sends, victims.availability) == (0, 0, None)
    assert victims.recovery_ms is None


def test_recovery_takes_until_the_last_victim_is_acked_again(tmp_path: Path) -> None:
    paper = Paper(tmp_path / "history", conversations=3, victims=(0, 1))
    paper.send(0, 19.9, acked_after_s=0.05)
    paper.send(0, 19.0, acked_after_s=1.25)
    paper.send(1, 21.0, acked_after_s=0.5)
    paper.send(1, 22.0)

    assert findings_on(paper).victims.recovery_ms == pytest.approx(1_500.0)


def test_a_victim_that_was_not_acked_again_leaves_the_recovery_open(tmp_path: Path) -> None:
    paper = Paper(tmp_path / "history", conversations=3, victims=(0, 1))
    paper.send(0, 21.0)
    paper.send(1, 19.0, acked_after_s=0.9)

    assert findings_on(paper).victims.recovery_ms is None


def test_what_happened_in_the_relay_is_counted(tmp_path: Path) -> None:
    moments = (
        Moment(11.0, "failed"),
        Moment(11.001, "restarted", 1.0),
        Moment(12.0, "restarted", 9.0),
        Moment(13.0, "restarted", 30.0),
        Moment(14.0, "quarantined"),
        Moment(14.0, "dead letter"),
        Moment(15.0, "cut off"),
    )
    found = findings_on(Paper(tmp_path / "history"), moments)

    assert (found.restarts, found.quarantines, found.dead_letters) == (3, 1, 1)
    assert (found.time_to_restart.p50_ms, found.time_to_restart.worst_ms) == (9.0, 30.0)


# ── the conclusion ───────────────────────────────────────────────────────────────────────────────


def bystanders(samples: int) -> Bystanders:
    return Bystanders(1, samples, *([1.0] * 11))


def report_with(tmp_path: Path, **verdicts: str) -> Report:
    """The report on a good history, with these words instead."""
    report = judge(load(bystanders_acked_after(tmp_path / "good", 0.002, 0.002).write()))
    changed = tuple(
        structs.replace(one, verdict=verdicts.get(one.invariant, one.verdict))
        for one in report.verdicts
    )
    return structs.replace(
        report, verdicts=changed, ok=all(one.verdict != "violated" for one in changed)
    )


def test_fewer_than_ten_thousand_samples_are_not_enough_data(tmp_path: Path) -> None:
    report = report_with(tmp_path)

    assert ENOUGH == 10_000
    assert conclude(EXPERIMENT, bystanders(9_999), report) == "not enough data"
    assert conclude(EXPERIMENT, bystanders(10_000), report) == "isolated"


def test_the_fewer_of_baseline_and_fault_are_counted(tmp_path: Path) -> None:
    paper = bystanders_acked_after(tmp_path / "history", 0.002, 0.002)
    found = findings_on(paper)

    assert found.bystanders.samples == 100
    assert (found.conclusion, found.ok) == ("not enough data", False)


def test_a_baseline_in_which_a_send_got_lost_compares_with_nothing(tmp_path: Path) -> None:
    seen = structs.replace(bystanders(20_000), baseline_worst_ms=None)

    assert conclude(EXPERIMENT, seen, report_with(tmp_path)) == "not enough data"


def test_it_is_not_isolated_where_the_checker_says_so(tmp_path: Path) -> None:
    report = report_with(tmp_path, I17="violated")

    assert conclude(EXPERIMENT, bystanders(20_000), report) == "not isolated"


def test_a_relay_whose_inboxes_cannot_be_read_at_the_end_has_isolated_nothing(
    tmp_path: Path,
) -> None:
    paper = bystanders_acked_after(tmp_path / "history", 0.002, 0.002)
    paper.send(1, 19.5, delivered_after_s=0.01)
    story = load(paper.write())
    report = structs.replace(
        judge(story),
        verdicts=tuple(structs.replace(one, verdict="ok") for one in judge(story).verdicts),
    )
    timeline, costs = timeline_of_story(story, []), COSTS._replace(unread=4)
    found = findings_of(EXPERIMENT, story, timeline, report, costs)
    quick = structs.replace(EXPERIMENT, quick=True)
    tried = findings_of(quick, story, timeline, report, costs)

    assert findings_of(quick, story, timeline, report, COSTS).ok
    assert (found.conclusion, found.ok, found.unread) == ("not isolated", False, 4)
    assert (tried.conclusion, tried.ok, tried.unread) == ("quick run, no result", False, 4)


@pytest.mark.parametrize("invariant", ["none", "I3"])
def test_an_isolated_fault_is_not_good_where_another_promise_was_broken(
    tmp_path: Path, invariant: str
) -> None:
    paper = Paper(tmp_path / "history")
    for number in range(ENOUGH):
        paper.send(1, number / 1_001, acked_after_s=0.002)
        paper.send(1, 10.0 + number / 1_001, acked_after_s=0.002)
    story = load(paper.write())
    report = report_with(tmp_path, **{invariant: "violated"})
    found = findings_of(EXPERIMENT, story, timeline_of_story(story, []), report, COSTS)

    assert found.bystanders.samples == ENOUGH
    assert (found.conclusion, found.ok) == ("isolated", invariant == "none")


@pytest.mark.parametrize(("invariant", "ok"), [("none", True), ("I17", True), ("I3", False)])
def test_a_quick_run_is_good_unless_a_promise_that_is_not_about_speed_was_broken(
    tmp_path: Path, invariant: str, ok: bool
) -> None:
    paper = bystanders_acked_after(tmp_path / "history", 0.002, 0.002)
    paper.send(1, 19.5, delivered_after_s=0.01)
    story = load(paper.write())
    report = judge(story)
    changed = tuple(
        structs.replace(one, verdict="violated" if one.invariant == invariant else "ok")
        for one in report.verdicts
    )
    quick = structs.replace(EXPERIMENT, quick=True)
    timeline = timeline_of_story(story, [])
    found = findings_of(quick, story, timeline, structs.replace(report, verdicts=changed), COSTS)

    assert (found.conclusion, found.ok) == ("quick run, no result", ok)
