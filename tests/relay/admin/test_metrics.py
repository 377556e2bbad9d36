"""Every metric is documented, and every documented metric is there; labels are words of our own."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from actors.traffic import Traffic
from relay import system
from relay.admin.metrics import render
from relay.admin.observed import Observed
from relay.admin.readiness import Readiness
from relay.admin.watches import LoopWatch, StoreWatch
from relay.lab.laboratory import Laboratory
from relay.telemetry import LineKind
from storage.commit_meter import CommitMeter
from storage.fault_orders import Action, Place
from storage.usage import StoreUsage
from tests.actors.world import World
from tests.recording_telemetry import RecordingTelemetry

DOCUMENTATION = Path(__file__).parents[3] / "docs" / "operations.md"


async def nothing() -> None:  # noqa: ASYNC124
    return None


@pytest.fixture
async def observed() -> Observed:  # noqa: ASYNC124
    meter = CommitMeter()
    store = StoreWatch(nothing)
    store.usage = StoreUsage(
        file_bytes=3, map_bytes=9, used_bytes=4, can_grow=True, free_bytes=1_000
    )
    return Observed(
        readiness=Readiness(meter, sync_stall_seconds=1.0, min_free_bytes=1),
        router=World().router,
        traffic=Traffic(),
        meter=meter,
        loop=LoopWatch(),
        store=store,
        lines=Counter(),
        connections=lambda: 7,
        handshakes=lambda: 2,
        digest=lambda _: "hash",
        lab=Laboratory((), RecordingTelemetry(), lambda _: "hash", system),
    )


def samples(observed: Observed) -> dict[str, float]:
    return {
        " ".join([sample.name, *sample.labels.values()]): sample.value
        for family in text_string_to_metric_families(render(observed).decode())
        for sample in family.samples
    }


async def test_numbers_are_those_of_their_owners_at_the_moment_of_the_scrape(  # noqa: ASYNC124
    observed: Observed,
) -> None:
    traffic, lines = observed.traffic, observed.lines
    assert isinstance(lines, Counter)
    assert samples(observed)["ksmp_connections"] == 7
    traffic.acks = 5
    traffic.errors["overloaded"] += 3
    lines[LineKind("connection.closed", "4410")] += 2
    lines[LineKind("connection.closed", "1000")] += 1
    lines[LineKind("actor.restarted", "conversation")] += 4
    observed.meter.operations.observe(3)
    observed.meter.operations.observe(5_000)
    observed.loop.lag_seconds.observe(0.3)
    now = samples(observed)

    assert now["ksmp_acks_total"] == 5
    assert now["ksmp_errors_total overloaded"] == 3
    assert now["ksmp_connections_closed_total 4410"] == 2
    assert now["ksmp_log_lines_total connection.closed"] == 3
    assert now["ksmp_restarts_total conversation"] == 4
    assert now["ksmp_commit_operations_bucket 2.0"] == 0
    assert now["ksmp_commit_operations_bucket 4.0"] == 1
    assert now["ksmp_commit_operations_bucket 1024.0"] == 1
    assert now["ksmp_commit_operations_bucket +Inf"] == now["ksmp_commit_operations_count"] == 2
    assert now["ksmp_commit_operations_sum"] == 5_003
    assert now["ksmp_loop_lag_seconds_sum"] == 0.3
    assert (now["ksmp_store_bytes"], now["ksmp_disk_free_bytes"]) == (3, 1_000)
    assert now["ksmp_ready"] == 0  # it is still starting


async def test_only_a_laboratory_counts_faults_by_place_and_action(  # noqa: ASYNC124
    observed: Observed,
) -> None:
    assert observed.lab is not None
    observed.lab.failpoints.at[Place.ROUTE].hits[Action.DROP] = 3
    now = samples(observed)

    assert now["ksmp_lab"] == 1
    assert now["ksmp_failpoint_hits_total drop route"] == 3
    assert sum(name.startswith("ksmp_failpoint_hits_total") for name in now) == 40
    elsewhere = samples(replace(observed, lab=None))
    assert elsewhere["ksmp_lab"] == 0
    assert not any("failpoint" in name for name in elsewhere)


async def test_the_documentation_has_every_metric_and_no_other(observed: Observed) -> None:  # noqa: ASYNC124
    rows = re.findall(r"^\| (`ksmp_.*?) \| (\w+) \|", DOCUMENTATION.read_text(), re.MULTILINE)
    documented = {
        (re.sub(r"\{.*|_total", "", name), kind)
        for names, kind in rows
        for name in re.findall(r"`(.*?)`", names)
    }
    emitted = {
        (family.name.removesuffix("_total"), family.type)
        for family in text_string_to_metric_families(render(observed).decode())
    }

    assert documented == emitted
    assert len(emitted) > 25
