"""The reconnect storm, run as people run it, and what it must not overlook."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from bench.checker.check import Report
from bench.checker.order import Order
from bench.storm import StormReport
from tests.wire.relay_process import PROGRAM, REPOSITORY


def test_all_come_back_with_their_cursors_and_miss_nothing() -> None:
    arguments = ("--connections", "40", "--messages", "3", "--spread", "0.2", "--json")
    finished = subprocess.run(
        [*PROGRAM, "bench", "storm", *arguments],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    report = json.loads(finished.stdout)

    assert (report["missing"], report["connections"]) == (0, 40)
    assert report["caught_up_seconds"] > 0
    assert report["handshakes_per_s"] == pytest.approx(40 / report["caught_up_seconds"], rel=0.01)
    assert report["relay_rss_kib"] > 1_000
    checker = report["checker"]
    assert checker["ok"] is True
    assert checker["sends"] == 40 * 3 * 2
    # To each live or after the return, and to its sender; then everything once more.
    assert checker["frames"] == 40 * 3 * 2 * 4


def test_a_storm_that_left_somebody_without_a_record_is_not_good() -> None:
    assert storm_report(missing=0).is_good
    assert not storm_report(missing=1).is_good


def storm_report(missing: int) -> StormReport:
    return StormReport(
        connections=1,
        messages=1,
        size=1,
        spread_seconds=0.0,
        seed=1,
        caught_up_seconds=1.0,
        handshakes_per_s=1.0,
        opening_handshakes_per_s=1.0,
        repeated_handshakes=0,
        missing=missing,
        relay_cpu=None,
        relay_rss_kib=1,
        generator_cpu=0.1,
        generator_bound=False,
        checker=Report("test", 1, 1.0, 1, 1, 1, 0, True, True, Order(1), ()),
    )
