"""The timeline comes out of the history alone, and every latency is from the intended time."""

from __future__ import annotations

from math import inf
from pathlib import Path

import pytest

from bench.checker.reading import HistoryError
from bench.history import Recorder
from bench.isolation.measuring import timeline_of
from bench.isolation.timeline import Moment
from tests.bench.isolation.paper import Paper


def test_a_send_that_could_not_go_out_at_once_is_late_from_when_it_was_meant(
    tmp_path: Path,
) -> None:
    paper = Paper(tmp_path / "history")
    paper.send(1, 2.0, late_s=0.5, acked_after_s=0.6)
    timeline = timeline_of(paper.write(), [])

    assert list(timeline.bystanders.meant_at_s) == pytest.approx([2.0])
    assert list(timeline.bystanders.ack_ms) == pytest.approx([600.0])


def test_a_send_counts_in_the_phase_in_which_it_was_meant_to_be_sent(tmp_path: Path) -> None:
    paper = Paper(tmp_path / "history")
    paper.send(1, 9.9, late_s=0.5, acked_after_s=0.6)
    timeline = timeline_of(paper.write(), [])
    baseline = timeline.phases["baseline"]

    assert baseline.began_s <= timeline.bystanders.meant_at_s[0] < baseline.ended_s


def test_a_refused_send_takes_until_its_retry_is_acked(tmp_path: Path) -> None:
    paper = Paper(tmp_path / "history")
    paper.send(1, 2.0, refused_after_s=0.01, acked_after_s=1.02)

    assert list(timeline_of(paper.write(), []).bystanders.ack_ms) == pytest.approx([1_020.0])


def test_what_was_never_acked_nor_delivered_is_infinitely_late(tmp_path: Path) -> None:
    paper = Paper(tmp_path / "history")
    paper.send(1, 2.0, acked_after_s=None)
    timeline = timeline_of(paper.write(), [])

    assert list(timeline.bystanders.ack_ms) == [inf]
    assert list(timeline.bystanders.delivery_ms) == [inf]


def test_delivered_is_when_the_recipient_has_it_and_not_the_senders_own_connection(
    tmp_path: Path,
) -> None:
    paper = Paper(tmp_path / "history")
    paper.send(1, 2.0, delivered_after_s=0.02)  # to the recipient a millisecond later

    assert list(timeline_of(paper.write(), []).bystanders.delivery_ms) == pytest.approx([21.0])


def test_what_only_the_final_read_has_shown_was_not_delivered(tmp_path: Path) -> None:
    paper = Paper(tmp_path / "history")
    paper.send(1, 2.0)
    paper.read_back(3, 24.0)

    assert list(timeline_of(paper.write(), []).bystanders.delivery_ms) == [inf]


def test_sends_are_told_apart_by_whether_the_fault_strikes_them(tmp_path: Path) -> None:
    paper = Paper(tmp_path / "history", conversations=3, victims=(2,))
    for conversation, at_s in ((2, 3.0), (0, 1.0), (1, 2.0), (2, 12.0)):
        paper.send(conversation, at_s)
    timeline = timeline_of(paper.write(), [])

    assert list(timeline.bystanders.meant_at_s) == pytest.approx([1.0, 2.0])
    assert list(timeline.victims.meant_at_s) == pytest.approx([3.0, 12.0])


def test_the_phases_are_those_that_were_recorded_and_what_lies_outside_is_left_out(
    tmp_path: Path,
) -> None:
    paper = Paper(tmp_path / "history")
    paper.send(1, -0.5)
    paper.send(1, 24.9)
    moments = [Moment(12.0, "failed")]
    timeline = timeline_of(paper.write(), moments)

    assert {name: tuple(span) for name, span in timeline.phases.items()} == {
        "baseline": pytest.approx((0.0, 10.0)),
        "fault": pytest.approx((10.0, 20.0)),
        "recovery": pytest.approx((20.0, 25.0)),
    }
    assert list(timeline.bystanders.meant_at_s) == pytest.approx([24.9])
    assert list(timeline.moments) == moments


def test_a_history_of_something_else_is_refused(tmp_path: Path) -> None:
    with Recorder(tmp_path / "history", relay="on paper") as recorder:
        recorder.begin("baseline")

    with pytest.raises(HistoryError, match="isolation experiment"):
        timeline_of(tmp_path / "history", [])
