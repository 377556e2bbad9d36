"""Sweeps of a relay of one's own: the loads, what is left of them, and what a stall looks like."""

from __future__ import annotations

import json
import os
import signal
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest

from bench.latency import sum_of
from bench.offered import sweep
from bench.offered.plan import OfferedPlan
from bench.offered.sweep import LatencyReport, Wish, measure_latency
from bench.pages.result import read_result
from bench.run import RunError, ServerCpu
from relay.cli import run
from relay.exits import ExitCode

STALL_SECONDS = 1.0


class Links(HTMLParser):
    """Whatever a page loads, leads to, or runs."""

    def __init__(self) -> None:
        super().__init__()
        self.outside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in {"script", "link", "iframe", "img", "object"}:
            self.outside.append(tag)
        for name, value in attrs:
            if name in {"href", "src", "xlink:href"} and not (value or "").startswith("#"):
                self.outside.append(f"{name}={value}")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_sweep_leaves_figures_pictures_and_a_page_that_needs_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("bench.saturation.SECONDS", 1.0)
    monkeypatch.setattr("bench.saturation.WARM_UP_SECONDS", 0.2)
    out = tmp_path / "out"
    words = ["--loads", "20,60", "--pairs", "2", "--seconds", "0.5", "--warm-up", "0.1"]
    words += ["--runs", "1"]
    code = run(["bench", "latency", *words, "--out", str(out)])

    printed, complaints = capfd.readouterr()
    assert code == ExitCode.OK, printed + complaints
    assert "Every promise kept." in printed
    result = read_result(out / "result.json")
    report = json.loads(bytes(result.report))
    saturation = report["saturation_per_s"]
    shares = [round(load["rate_per_s"] / saturation, 2) for load in report["loads"]]
    assert shares == [0.2, 0.6]
    assert "--loads 20,60 --pairs 2" in result.command
    assert str(tmp_path) not in result.command
    for name in ("over-load", "ack-distribution", "delivery-distribution"):
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert b"<svg" in (out / f"{name}.svg").read_bytes()
    page = (out / "report.html").read_text()
    links = Links()
    links.feed(page)
    assert links.outside == []
    assert page.count("<svg") == 3
    assert result.command in page


def small(**changes: object) -> Wish:
    wish = Wish(200.0, 2, 64, 2.0, 0.2, 1, 7)
    return wish._replace(**changes)  # type: ignore[arg-type]


def stalled(monkeypatch: pytest.MonkeyPatch) -> LatencyReport:
    """The relay stands still for a second, in the first half of the measured time."""

    class Stalling(ServerCpu):
        def __init__(self, pid: int | None) -> None:
            super().__init__(pid)
            self.pid = pid

        def begin(self) -> None:  # the generator has begun to count
            super().begin()
            assert self.pid is not None
            os.kill(self.pid, signal.SIGSTOP)
            try:
                time.sleep(STALL_SECONDS)
            finally:
                os.kill(self.pid, signal.SIGCONT)

    monkeypatch.setattr(sweep, "ServerCpu", Stalling)
    return measure_latency(small())


def test_a_relay_that_stands_still_pays_for_all_that_was_meant_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (load,) = stalled(monkeypatch).loads
    (one,) = load.runs

    # Half of the time it stood still: a quarter of all sends waited for half of that, or longer.
    waited = sum(
        count
        for milliseconds, count in sum_of([one.figures.ack_histogram]).buckets()
        if milliseconds >= STALL_SECONDS * 1_000 / 2
    )
    sends = one.figures.offered_per_s * 2.0
    assert waited > 0.15 * sends
    assert one.figures.ack_ms.p99 > STALL_SECONDS * 1_000 * 0.8
    assert one.figures.delivery_ms.p99 > STALL_SECONDS * 1_000 * 0.8
    assert one.is_good


def test_beside_a_load_stands_how_long_the_relays_syncs_took_in_the_measured_time() -> None:
    (load,) = measure_latency(small(seconds=0.5, warm_up_seconds=2.0, runs=2)).loads

    assert load.syncs is not None
    assert [run.syncs is not None and run.syncs.count > 0 for run in load.runs] == [True, True]
    assert load.syncs.count == sum(run.syncs.count for run in load.runs if run.syncs is not None)
    # No send has more than one, of 200 in the measured time; with the warm-up there would be 1,000.
    assert load.syncs.count < 2 * 200
    assert (load.syncs.p50_at_most_ms or 0) > 0


def test_a_history_is_recorded_in_memory_and_gone_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.places.IN_MEMORY", tmp_path)
    monkeypatch.setattr("bench.places.ROOM_FOR_HISTORY_BYTES", 0)
    plans: list[OfferedPlan] = []

    def refused(plan: OfferedPlan, *_: object) -> None:
        plans.append(plan)
        assert Path(plan.history).parent.is_dir()
        raise RunError("nobody is there")

    monkeypatch.setattr(sweep, "_offered", refused)
    with pytest.raises(RunError, match="nobody is there"):
        measure_latency(small())

    (plan,) = plans
    assert Path(plan.history).is_relative_to(tmp_path)
    assert list(tmp_path.iterdir()) == []
