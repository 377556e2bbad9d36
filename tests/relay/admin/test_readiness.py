"""The relay is ready exactly while it can store what it accepts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from relay.admin.readiness import Phase, Readiness
from storage.commit_meter import CommitMeter
from storage.read_meter import ReadMeter
from storage.usage import StoreUsage

ROOMY = StoreUsage(
    file_bytes=10, map_bytes=1_000, used_bytes=10, can_grow=True, free_bytes=1_000_000
)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def meter(clock: Clock) -> CommitMeter:
    return CommitMeter(clock)


@pytest.fixture
def read_meter(clock: Clock) -> ReadMeter:
    return ReadMeter(clock)


@pytest.fixture
def readiness(meter: CommitMeter, read_meter: ReadMeter) -> Readiness:
    made = Readiness(meter, read_meter, sync_stall_seconds=10.0, min_free_bytes=1_000)
    made.phase = Phase.READY
    return made


def test_a_relay_that_starts_or_drains_is_not_ready_and_says_which(readiness: Readiness) -> None:
    for phase, reasons in (
        (Phase.STARTING, ["starting"]),
        (Phase.READY, []),
        (Phase.DRAINING, ["draining"]),
    ):
        readiness.phase = phase
        assert readiness.reasons(ROOMY) == reasons
        assert readiness.reasons(None) == reasons


def test_a_commit_that_takes_longer_than_allowed_is_a_stall_until_it_ends(
    readiness: Readiness, meter: CommitMeter, clock: Clock
) -> None:
    meter.begin()
    clock.now += 10.0
    assert readiness.reasons(ROOMY) == []
    clock.now += 0.1
    assert readiness.reasons(ROOMY) == ["sync_stalled"]
    readiness.adopt(sync_stall_seconds=20.0, min_free_bytes=1_000)
    assert readiness.reasons(ROOMY) == []
    clock.now += 10.0
    assert readiness.reasons(ROOMY) == ["sync_stalled"]
    meter.end()
    assert readiness.reasons(ROOMY) == []


def test_a_read_that_takes_longer_than_allowed_is_a_stall_until_it_ends(
    readiness: Readiness, read_meter: ReadMeter, clock: Clock
) -> None:
    def read() -> tuple[list[str], list[str]]:
        clock.now += 10.0
        in_time = readiness.reasons(ROOMY)
        clock.now += 0.1
        return in_time, readiness.reasons(ROOMY)

    assert read_meter.measure(read) == ([], ["reads_stalled"])
    assert readiness.reasons(ROOMY) == []
    assert read_meter.seconds.total == pytest.approx(10.1)


def test_a_read_that_fails_is_over_like_any_other(
    readiness: Readiness, read_meter: ReadMeter, clock: Clock
) -> None:
    def fail() -> None:
        raise RuntimeError("planted")

    with pytest.raises(RuntimeError, match="planted"):
        read_meter.measure(fail)
    clock.now += 60.0
    assert readiness.reasons(ROOMY) == []


def test_a_store_that_refuses_is_not_ready(readiness: Readiness) -> None:
    readiness.has_space = False
    assert readiness.reasons(ROOMY) == ["storage_full"]
    readiness.has_space = True
    assert readiness.reasons(ROOMY) == []


def test_a_disk_counts_as_nearly_full_before_anything_is_refused(readiness: Readiness) -> None:
    assert readiness.reasons(replace(ROOMY, free_bytes=2_000)) == []
    assert readiness.reasons(replace(ROOMY, free_bytes=1_999)) == ["disk_nearly_full"]


def test_a_map_counts_as_nearly_full_only_where_it_cannot_grow(readiness: Readiness) -> None:
    used = replace(ROOMY, used_bytes=900)
    assert readiness.reasons(used) == []
    assert readiness.reasons(replace(used, can_grow=False)) == ["map_nearly_full"]
    assert readiness.reasons(replace(used, can_grow=False, used_bytes=899)) == []


def test_every_reason_is_told_at_once(readiness: Readiness) -> None:
    readiness.phase = Phase.DRAINING
    readiness.has_space = False
    assert readiness.reasons(replace(ROOMY, free_bytes=0)) == [
        "draining",
        "storage_full",
        "disk_nearly_full",
    ]
