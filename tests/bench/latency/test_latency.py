"""The latency benchmark, run as people run it, and its figures out of histories made by hand."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from bench.checker.check import Report
from bench.checker.order import Order
from bench.latency import Percentiles
from bench.offered.measuring import Figures
from bench.offered.sweep import LoadRun, load_of
from bench.open_loop.arrivals import arrivals_of
from tests.wire.relay_process import PROGRAM, REPOSITORY, RelayProcess

SHORT = ("--rate", "100", "--pairs", "2", "--seconds", "1", "--warm-up", "0.2", "--runs", "1")


def latency(*arguments: str) -> dict[str, Any]:
    finished = subprocess.run(
        [*PROGRAM, "bench", "latency", *SHORT, "--json", *arguments],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr + finished.stdout
    return json.loads(finished.stdout)


def test_a_relay_that_was_loaded_before_is_measured_and_judged_again(tmp_path: Path) -> None:
    with RelayProcess(tmp_path) as relay:
        tokens = tmp_path / "tokens"
        tokens.write_text("\n".join(relay.tokens(["a", "b", "c", "d"])))
        address = ("--url", relay.url, "--tokens", str(tokens))
        reports = [latency(*address), latency(*address)]

    for report in reports:
        (load,) = report["loads"]
        (run,) = load["runs"]
        assert load["syncs"] is run["syncs"] is None  # its metrics are for its own operator
        assert run["checker"]["ok"]
        assert run["checker"]["order"]["checked"] > 0
        assert (run["figures"]["unacked"], run["figures"]["undelivered"], run["unread"]) == (0,) * 3
        ack = run["figures"]["ack_ms"]
        assert 0 < ack["p50"] <= ack["p99"] <= ack["p999"]


def test_the_seed_alone_decides_who_sends_when() -> None:
    one, same = (arrivals_of("7", 500.0, 1.0, 4.0, 6) for _ in range(2))

    assert one == same
    assert one != arrivals_of("8", 500.0, 1.0, 4.0, 6)
    assert list(one.at_ns) == sorted(one.at_ns)
    assert set(one.sender) == set(range(6))


CHECKED = Report("0", None, 1.0, 9, 9, 9, 0, True, True, Order(checked=9), ())


def run(acked_per_s: float, generator_cpu: float = 0.4, undelivered: int = 0) -> LoadRun:
    some = Percentiles(1.0, 2.0, 3.0)
    figures = Figures(100.0, acked_per_s, 99.0, some, some, 4.0, 5.0, 0, undelivered, "", "")
    return LoadRun(figures, CHECKED, 0, generator_cpu, 0.5)


def test_a_load_is_the_median_of_its_runs_between_the_lowest_and_the_highest() -> None:
    spread = load_of(100.0, [run(90), run(300), run(100)]).acked_per_s

    assert (spread.lowest, spread.median, spread.highest) == (90, 100, 300)


def test_figures_are_the_generators_own_when_it_was_busy_in_one_run() -> None:
    assert load_of(100.0, [run(90), run(90, generator_cpu=0.81)]).generator_bound
    assert not load_of(100.0, [run(90), run(90, generator_cpu=0.8)]).generator_bound


def test_a_run_that_lost_a_message_is_not_good() -> None:
    assert run(90).is_good
    assert not run(90, undelivered=1).is_good
