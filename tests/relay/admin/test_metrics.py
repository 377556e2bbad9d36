"""Every metric is documented, and every documented metric is there; labels are words of our own."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from actors.dead_letters import DeadLetter
from actors.router import Router
from actors.telemetry import hashed_conversation
from actors.traffic import Traffic
from ksmp.types import TimeMs
from relay import system
from relay.admin.metrics import OF_LINES, render
from relay.admin.observed import Observed
from relay.admin.readiness import Phase, Readiness
from relay.admin.watches import LoopWatch, StoreWatch
from relay.lab.laboratory import Laboratory
from relay.telemetry import LineKind
from storage.commit_meter import CommitMeter
from storage.fault_orders import Action, Place
from storage.read_meter import ReadMeter
from storage.usage import StoreUsage
from tests.actors.world import World, key_of
from tests.recording_telemetry import RecordingTelemetry

DOCUMENTATION = Path(__file__).parents[3] / "docs" / "operations.md"


async def nothing() -> None:  # noqa: ASYNC124
    return None


CONNECTED: list[str] = []
SHAKING: list[str] = []


@pytest.fixture
async def observed() -> Observed:  # noqa: ASYNC124
    CONNECTED[:], SHAKING[:] = ["one"] * 7, ["one"] * 2
    meter = CommitMeter()
    store = StoreWatch(nothing)
    store.usage = StoreUsage(
        file_bytes=3, map_bytes=9, used_bytes=4, can_grow=True, free_bytes=1_000
    )
    return Observed(
        readiness=Readiness(meter, ReadMeter(), sync_stall_seconds=1.0, min_free_bytes=1),
        router=World().router,
        traffic=Traffic(),
        meter=meter,
        read_meter=ReadMeter(),
        loop=LoopWatch(),
        store=store,
        lines=Counter(),
        connections=CONNECTED.__len__,
        handshakes=SHAKING.__len__,
        digest=lambda _: "hash",
        lab=None,
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


def in_a_laboratory(observed: Observed) -> Observed:
    lab = Laboratory((), RecordingTelemetry(), lambda _: "hash", system)
    return replace(observed, lab=lab)


Move = Callable[[Observed, pytest.MonkeyPatch], object]


def _line(event: str, code: str = "") -> Move:
    def move(observed: Observed, _patch: pytest.MonkeyPatch) -> None:
        assert isinstance(observed.lines, Counter)
        observed.lines[LineKind(event, code)] += 1

    return move


def _traffic(name: str) -> Move:
    def move(observed: Observed, _patch: pytest.MonkeyPatch) -> None:
        setattr(observed.traffic, name, getattr(observed.traffic, name) + 1)

    return move


def _router(name: str, value: object) -> Move:
    return lambda _, patch: patch.setattr(Router, name, value)


def _usage(name: str, size: int) -> Move:
    def move(observed: Observed, _patch: pytest.MonkeyPatch) -> None:
        assert observed.store.usage is not None
        observed.store.usage = replace(observed.store.usage, **{name: size})  # type: ignore[arg-type]

    return move


def _under_way(meter: str) -> Move:
    return lambda observed, patch: patch.setattr(
        type(getattr(observed, meter)), "under_way_seconds", 2.5
    )


def _dead_letter(observed: Observed, _patch: pytest.MonkeyPatch) -> None:
    hashed = hashed_conversation(key_of("talk"))
    observed.router.dead_letters.add(DeadLetter(TimeMs(1), "SendLetter", hashed))


MOVES: Mapping[str, Move] = {
    "ksmp_connections": lambda observed, _: CONNECTED.append("another"),
    "ksmp_handshakes": lambda observed, _: SHAKING.append("another"),
    "ksmp_connections_opened": _line("connection.opened"),
    "ksmp_connections_closed": _line("connection.closed", "1000"),
    "ksmp_handshakes_refused": _line("connection.refused", "unauthenticated"),
    "ksmp_received": _traffic("received"),
    "ksmp_received_bytes": _traffic("received_bytes"),
    "ksmp_sends": _traffic("sends"),
    "ksmp_acks": _traffic("acks"),
    "ksmp_frames": _traffic("frames"),
    "ksmp_frames_bytes": _traffic("frames_bytes"),
    "ksmp_errors": lambda observed, _: observed.traffic.errors.update(["overloaded"]),
    "ksmp_conversations_live": _router("live_conversations", 3),
    "ksmp_conversations_quarantined": _router("quarantined", ("one",)),
    "ksmp_mailbox_depth_peak": lambda observed, patch: patch.setattr(
        observed.router, "deepest_mailbox", 9
    ),
    "ksmp_letters_under_way": _router("under_way", 4),
    "ksmp_letters_under_way_bytes": _router("under_way_bytes", 400),
    "ksmp_failures": _line("actor.failed", "conversation"),
    "ksmp_restarts": _line("actor.restarted", "conversation"),
    "ksmp_quarantines": _line("actor.quarantined", "conversation"),
    "ksmp_dead_letters": _dead_letter,
    "ksmp_commit_operations": lambda observed, _: observed.meter.operations.observe(3),
    "ksmp_commit_seconds": lambda observed, _: observed.meter.seconds.observe(0.2),
    "ksmp_sync_seconds": lambda observed, _: observed.meter.sync_seconds.observe(0.1),
    "ksmp_commit_under_way_seconds": _under_way("meter"),
    "ksmp_read_seconds": lambda observed, _: observed.read_meter.seconds.observe(0.1),
    "ksmp_read_under_way_seconds": _under_way("read_meter"),
    "ksmp_store_bytes": _usage("file_bytes", 4),
    "ksmp_store_map_bytes": _usage("map_bytes", 18),
    "ksmp_store_map_used_bytes": _usage("used_bytes", 5),
    "ksmp_disk_free_bytes": _usage("free_bytes", 999),
    "ksmp_loop_lag_seconds": lambda observed, _: observed.loop.lag_seconds.observe(0.1),
    "ksmp_ready": lambda observed, _: setattr(observed.readiness, "phase", Phase.READY),
    "ksmp_log_lines": _line("relay.ready"),
    "ksmp_lab": lambda observed, _: object.__setattr__(
        observed, "lab", in_a_laboratory(observed).lab
    ),
}
"""What makes each metric another."""


def families(observed: Observed) -> dict[str, Metric]:
    return {
        family.name: family for family in text_string_to_metric_families(render(observed).decode())
    }


@pytest.mark.parametrize("name", sorted(MOVES))
async def test_each_metric_moves_with_what_it_tells_of(  # noqa: ASYNC124
    name: str, observed: Observed, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = families(observed)
    MOVES[name](observed, monkeypatch)
    after = families(observed)

    assert set(before) == set(MOVES)
    assert after[name].samples != before[name].samples
    is_of_lines = name in {metric for metric, _, _ in OF_LINES.values()}
    others = set(MOVES) - {name} - ({"ksmp_log_lines"} if is_of_lines else set())
    assert {one for one in others if after[one].samples != before[one].samples} == set()


async def test_names_and_help_texts_keep_to_the_conventions(observed: Observed) -> None:  # noqa: ASYNC124
    observed = in_a_laboratory(observed)
    text = render(observed).decode()
    assert text.endswith("\n")
    for family in families(observed).values():
        assert re.fullmatch(r"ksmp(_[a-z]+)+", family.name)
        assert family.documentation.endswith(".")
        for unit in ("seconds", "bytes"):  # a base unit is the last word, and the help says it
            is_of_unit = family.name.endswith(f"_{unit}")
            assert is_of_unit is (unit in family.name.split("_"))
            assert not is_of_unit or family.documentation.startswith(unit.capitalize())
        suffixes = {sample.name.removeprefix(family.name) for sample in family.samples}
        match family.type:
            case "counter":
                assert suffixes <= {"_total"}
                assert f"# TYPE {family.name}_total counter\n" in text
            case "histogram":
                assert suffixes == {"_bucket", "_sum", "_count"}
            case _:
                assert (family.type, suffixes) == ("gauge", {""})
                assert not family.name.endswith(("_total", "_count", "_sum", "_bucket"))
        labels = {label for sample in family.samples for label in sample.labels}
        assert labels <= {"le", "code", "kind", "event", "place", "action"}


async def test_only_a_laboratory_counts_faults_by_place_and_action(  # noqa: ASYNC124
    observed: Observed,
) -> None:
    laboratory = in_a_laboratory(observed)
    assert laboratory.lab is not None
    laboratory.lab.failpoints.at[Place.ROUTE].hits[Action.DROP] = 3
    now = samples(laboratory)

    assert now["ksmp_lab"] == 1
    assert now["ksmp_failpoint_hits_total drop route"] == 3
    assert sum(name.startswith("ksmp_failpoint_hits_total") for name in now) == 40
    elsewhere = samples(observed)
    assert elsewhere["ksmp_lab"] == 0
    assert not any("failpoint" in name for name in elsewhere)
