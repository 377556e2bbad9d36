"""Reports of every kind of measurement, of runs that never were."""

from __future__ import annotations

from msgspec import Struct

from bench.cells_result import CellsResult, cell_of, lmdb_beside
from bench.growth import Cell, GrowthReport
from bench.idle import IdleReport, Window
from bench.latency import Histogram, Percentiles
from bench.lmdb_alone import LmdbReport
from bench.offered.measuring import Figures
from bench.offered.sweep import LatencyReport, LoadRun, load_of
from bench.pages.result import Kind
from bench.peers.choice import Beyond
from bench.peers.comparing import Beside, Comparison, Round, column
from bench.peers.floors import Floor, Judged
from bench.peers.result import PeersReport, Promise
from bench.replay import Memory, ReplayReport
from bench.replay_plan import LiveMeasured
from bench.storm import StormReport
from tests.bench.made_up import CHECKED, ordering_report

SOME = Percentiles(1.0, 2.0, 3.0)


def run(rate: float, slower: int = 1, unacked: int = 0) -> LoadRun:
    histogram = Histogram({slower * microseconds: 50 for microseconds in range(900, 5_000, 100)})
    some = histogram.percentiles
    figures = Figures(
        rate, rate, rate, some, some, 5.0, 5.0, unacked, 0, histogram.encoded, histogram.encoded
    )
    return LoadRun(figures, CHECKED, 0, 0.4, 0.5)


def sweep(*runs: LoadRun) -> LatencyReport:
    made = runs or (run(100.0), run(110.0))
    loads = (load_of(100.0, made), load_of(200.0, [run(200.0, slower=3)]))
    return LatencyReport(1_000.0, 2, 64, 1.0, 7, loads)


def growth_cell(conversations: int, records: int, slower: float) -> Cell:
    return Cell(
        conversations=conversations,
        records=records,
        pairs=16,
        start_seconds=0.5,
        rss_started_kib=70_000,
        rss_loaded_kib=90_000,
        own_loaded_kib=60_000,
        acked_per_s=1e4 / slower,
        ack_ms=SOME,
        wall_us_per_message=100.0 * slower,
        cpu_us_per_message=50.0 * slower,
        wall_ratio=slower,
        cpu_ratio=slower,
        generator_cpu=0.5,
        generator_bound=False,
        undelivered=0,
        checker=CHECKED,
    )


def growth() -> GrowthReport:
    sizes = (10, 40, 1.0), (10, 400, 1.03), (20, 400, 1.07)
    return GrowthReport(16, 300, 5.0, tuple(growth_cell(*size) for size in sizes))


def cells() -> CellsResult:
    plain = [ordering_report(200.0)]
    alone = LmdbReport(100, 16, 300, 9, 1.0, 400.0, 2_000.0)
    made = cell_of("16x16", plain, None), cell_of("hot", [ordering_report(150.0)], plain)
    return CellsResult(1, "16x16", made, lmdb_beside([alone], plain), failures=())


def replay() -> ReplayReport:
    return ReplayReport(
        records=1_000,
        size=300,
        frames=990,
        seconds=2.0,
        frames_per_s=495.0,
        bytes_per_s=1e6,
        out_of_place=0,
        ends_right=True,
        memory=Memory(50_000, 50_100, 70_000, 80_000, 200),
        memory_flat=True,
        relay_cpu=0.7,
        reader_cpu=0.5,
        reader_bound=False,
        live=LiveMeasured(SOME, SOME, 100, 100, 0, 0.1),
        checker=CHECKED,
        messages_per_s=None,
        ratio=None,
    )


def storm() -> StormReport:
    return StormReport(
        connections=2,
        messages=3,
        size=300,
        spread_seconds=1.0,
        seed=1,
        caught_up_seconds=4.5,
        handshakes_per_s=1_000.0,
        opening_handshakes_per_s=900.0,
        repeated_handshakes=7,
        missing=0,
        relay_cpu=None,
        relay_rss_kib=80_000,
        generator_cpu=0.4,
        generator_bound=False,
        checker=CHECKED,
    )


def idle() -> IdleReport:
    return IdleReport(20, 19, 60.0, 20.0, 2, 50_000, 50_400, 20.0, 3_000.0, Window(40.0, 38, 0.012))


def peers() -> PeersReport:
    relay = [Round(rate, rate, 4.0, 9.0, 0.9, 0.4, 0) for rate in (300.0, 250.0, 400.0)]
    nats = Round(200.0, 200.0, 2.0, 9.0, 0.9, 0.4, 0)
    beside = column("nats", relay, [Beside(nats, own) for own in (700.0, 800.0, 900.0)])
    one = Comparison("16x16", 16, 16, 300, 5.0, 0.0, tuple(relay), 300.0, 4.0, (beside,))
    worth = Beyond("none", "some", "yes", "no")
    promise = Promise("nats", "2.9", False, "an answer", "it is written", worth, "a benchmark")
    floors = (
        Judged(Floor("16x16", "nats", "rate", 1.2, 3.0), beside.rate_ratio, "floor"),
        Judged(Floor("1x1", "nats", "latency", 2.5, 1.2), None, "not measured"),
    )
    return PeersReport("everything is on disk", (promise,), 16, (one,), floors, None)


def made_up_reports() -> dict[Kind, Struct]:
    return {
        "idle": idle(),
        "peers": peers(),
        "cells": cells(),
        "latency": sweep(),
        "growth": growth(),
        "replay": replay(),
        "storm": storm(),
    }
