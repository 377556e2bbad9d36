"""The reconnect storm, run as people run it, and what it must not overlook."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
from pathlib import Path

import pytest

from bench.checker.check import Report
from bench.checker.order import Order
from bench.history import Recorder
from bench.opening import HANDSHAKE_SECONDS
from bench.process import LoadError
from bench.storm import StormReport
from bench.visitor import Visitor
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


def test_a_handshake_that_is_cut_off_is_noticed_at_once_so_that_it_can_be_made_again(
    tmp_path: Path,
) -> None:
    async def visit() -> None:
        def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.transport.abort()

        server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        with Recorder(tmp_path / "history", relay="test") as recorder:
            token = f"head.{base64.urlsafe_b64encode(json.dumps({'sub': 'a'}).encode()).decode()}."
            visitor = Visitor(recorder, token, pytest.fail)
            async with server, asyncio.timeout(HANDSHAKE_SECONDS / 2):
                await visitor.come(f"ws://127.0.0.1:{port}/")

    with pytest.raises(LoadError):
        asyncio.run(visit())


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
