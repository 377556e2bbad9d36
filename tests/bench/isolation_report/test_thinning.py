"""What is left out of a drawing is never later than what stands for it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bench.isolation.plots.thinning import (
    MARKS_AT_MOST,
    MIN_FOR_P99,
    availability,
    interval_s,
    lines,
    marks,
    percentile,
)
from bench.pages.canvas import FLOOR_MS
from bench.pages.tail import RANKS_AT_MOST, tail


def samples(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    chance = np.random.default_rng(seed)
    at_s = np.sort(chance.uniform(0, 60, count))
    latency_ms = 10 ** chance.uniform(-3, 4, count)
    latency_ms[chance.random(count) < 0.05] = math.inf
    return at_s, latency_ms


@pytest.mark.parametrize("seed", range(10))
def test_the_worst_of_all_is_among_the_marks(seed):
    at_s, latency_ms = samples(seed, 20_000)
    latency_ms = np.where(np.isinf(latency_ms), 5.0, latency_ms)
    worst = int(latency_ms.argmax())

    chosen = marks(at_s, latency_ms, 60.0)

    assert (at_s[worst], latency_ms[worst]) in set(
        zip(chosen.at_s.tolist(), chosen.latency_ms.tolist(), strict=True)
    )
    assert len(chosen.at_s) <= MARKS_AT_MOST


@pytest.mark.parametrize("seed", range(5))
def test_each_sample_of_the_later_half_has_a_later_mark_in_its_cell(seed):
    at_s, latency_ms = samples(seed, 3_000)

    chosen = marks(at_s, latency_ms, 60.0)

    for when, latency in zip(at_s, latency_ms, strict=True):
        if latency < np.median(latency_ms):
            continue
        near = chosen.latency_ms[np.abs(chosen.at_s - when) <= chosen.cell_s]
        if math.isinf(latency):
            assert np.isinf(near).any()
        else:
            limit = max(latency, FLOOR_MS) * chosen.cell_factor * 1.000001
            assert ((near >= latency) & (near <= limit)).any()


def test_a_mark_is_a_sample_and_not_an_average():
    at_s, latency_ms = samples(1, 5_000)

    chosen = marks(at_s, latency_ms, 60.0)

    seen = set(zip(at_s.tolist(), latency_ms.tolist(), strict=True))
    assert set(zip(chosen.at_s.tolist(), chosen.latency_ms.tolist(), strict=True)) <= seen


@pytest.mark.parametrize("count", [1, 2, 99, 100, 101, 199, 1_000])
def test_a_percentile_is_the_smallest_that_so_many_do_not_exceed(count):
    ordered = np.sort(np.random.default_rng(count).uniform(0, 1, count))

    # As the checker of histories counts, in whole numbers.
    assert percentile(ordered, 0.99) == ordered[-(-99 * count // 100) - 1]


def test_lines_are_of_all_samples_of_their_interval():
    at_s, latency_ms = samples(3, 4_000)

    found = lines(at_s, latency_ms, 0.5)

    assert len(found.at_s) == 120
    for middle, p50, p99, worst in zip(*found, strict=True):
        inside = np.sort(latency_ms[(at_s >= middle - 0.25) & (at_s < middle + 0.25)])
        assert p50 == percentile(inside, 0.5)
        assert worst == inside[-1]
        assert math.isnan(p99) == (len(inside) < MIN_FOR_P99)


def test_an_interval_with_enough_samples_has_a_99th_percentile():
    at_s, latency_ms = np.linspace(0, 0.99, 100), np.arange(1.0, 101.0)

    assert lines(at_s, latency_ms, 1.0).p99.tolist() == [99.0]


@pytest.mark.parametrize("seconds", [0.5, 6, 60, 600, 3_600])
def test_intervals_are_round_and_some_hundred_at_most(seconds):
    assert seconds / interval_s(seconds) <= 150.001


def test_a_tail_ends_at_the_worst_and_has_few_points():
    latency_ms = np.random.default_rng(5).lognormal(0, 1, 100_000)

    found = tail(latency_ms)

    assert len(found.latency_ms) <= RANKS_AT_MOST
    assert found.latency_ms[-1] == latency_ms.max()
    assert found.share_from[-1] == pytest.approx(1e-5)
    assert found.share_up_to[-1] == 1
    for latency, up_to, above in zip(*found, strict=True):
        assert up_to == pytest.approx(np.mean(latency_ms <= latency))
        assert above == pytest.approx(np.mean(latency_ms >= latency))


def test_availability_counts_what_was_acked_within_a_second():
    at_s = np.array([0.1, 0.2, 0.9, 1.5, 3.0, 3.9])
    ack_ms = np.array([5.0, 1_000.0, 1_000.1, math.inf, 1.0, 2.0])

    began_s, share = availability(at_s, ack_ms, 1.0)

    assert began_s.tolist() == [0.0, 1.0, 3.0]
    assert share.tolist() == pytest.approx([2 / 3, 0.0, 1.0])


def test_nothing_is_thinned_to_nothing():
    nothing = np.array([], dtype=np.float64)

    assert len(marks(nothing, nothing, 60.0).at_s) == 0
    assert len(lines(nothing, nothing, 1.0).at_s) == 0
    assert len(tail(nothing).latency_ms) == 0
    assert len(availability(nothing, nothing, 1.0)[0]) == 0
