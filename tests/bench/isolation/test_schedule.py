"""Who sends when, and who is struck, is decided by the seed before anything runs."""

from __future__ import annotations

from statistics import fmean, pvariance

import pytest
from msgspec import structs

from bench.isolation.experiment import Experiment
from bench.isolation.schedule import Schedule, schedule_of, stuck_readers, victims_of
from bench.open_loop.arrivals import NS

EXPERIMENT = Experiment("poison", 50, 5, 60.0, 1_000.0, seed=7, quick=False)


def columns(schedule: Schedule) -> tuple[bytes, bytes, bytes]:
    return schedule.at_ns.tobytes(), schedule.sender.tobytes(), bytes(schedule.is_poison)


def test_equal_experiments_send_the_same_at_the_same_times() -> None:
    one = schedule_of(EXPERIMENT, 1_000.0, 2.0)
    other = schedule_of(structs.replace(EXPERIMENT), 1_000.0, 2.0)

    assert columns(one) == columns(other)
    assert victims_of(EXPERIMENT) == victims_of(structs.replace(EXPERIMENT))


def test_another_seed_is_another_experiment() -> None:
    other = structs.replace(EXPERIMENT, seed=8)

    assert columns(schedule_of(EXPERIMENT, 1_000.0, 2.0)) != columns(
        schedule_of(other, 1_000.0, 2.0)
    )
    assert victims_of(EXPERIMENT) != victims_of(other)


def test_the_kind_of_fault_does_not_change_who_sends_when() -> None:
    poisoned = schedule_of(EXPERIMENT, 1_000.0, 2.0)
    flooded = schedule_of(structs.replace(EXPERIMENT, fault="flood"), 1_000.0, 2.0)

    assert columns(poisoned)[:2] == columns(flooded)[:2]
    assert any(poisoned.is_poison)
    assert not any(flooded.is_poison)


def test_the_load_is_a_poisson_process_of_the_rate_shared_evenly_by_all_senders() -> None:
    schedule = schedule_of(EXPERIMENT, 1_000.0, 2.0)
    times = [at / NS for at in schedule.at_ns]
    per_second = [0] * 62
    for at in times:
        per_second[int(at + 2)] += 1
    senders = [schedule.sender.count(sender) for sender in range(100)]

    assert times == sorted(times)
    assert times[0] >= -2.0
    assert times[-1] < 60.0
    assert fmean(per_second) == pytest.approx(1_000, rel=0.03)
    assert 300 < pvariance(per_second) < 2_000  # about as much as the mean, as Poisson has it
    assert min(senders) > 450
    assert max(senders) < 800


def test_only_victims_send_poison_about_one_time_in_ten() -> None:
    schedule = schedule_of(EXPERIMENT, 1_000.0, 2.0)
    victims = victims_of(EXPERIMENT)
    of_victims = [
        is_poison
        for sender, is_poison in zip(schedule.sender, schedule.is_poison, strict=True)
        if sender // 2 in victims
    ]

    assert sum(of_victims) == sum(schedule.is_poison)
    assert 0.07 < fmean(of_victims) < 0.13


def test_where_the_disk_is_slow_nobody_in_particular_is_a_victim() -> None:
    assert victims_of(structs.replace(EXPERIMENT, fault="slow-sync")) == ()
    assert len(set(victims_of(EXPERIMENT))) == 5


def test_one_side_of_each_victim_gets_stuck() -> None:
    stuck = stuck_readers(EXPERIMENT)

    assert tuple(side // 2 for side in stuck) == victims_of(EXPERIMENT)
    assert stuck == stuck_readers(structs.replace(EXPERIMENT))


def test_the_phases_take_two_two_and_one_fifths_of_the_time() -> None:
    assert EXPERIMENT.phases == {
        "baseline": (0.0, 24.0),
        "fault": (24.0, 48.0),
        "recovery": (48.0, 60.0),
    }
