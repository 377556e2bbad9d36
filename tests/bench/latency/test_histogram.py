"""Histograms of latencies: what they keep, and how they add up."""

from __future__ import annotations

import random

import pytest

from bench.latency import Histogram, Latencies, sum_of


def test_percentiles_are_right_to_three_significant_figures() -> None:
    chance = random.Random(3)
    samples = sorted(chance.lognormvariate(-6, 2) for _ in range(20_000))
    latencies = Latencies()
    for sample in samples:
        latencies.record(sample)

    percentiles = latencies.percentiles()
    for found, share in (
        (percentiles.p50, 0.5),
        (percentiles.p99, 0.99),
        (percentiles.p999, 0.999),
    ):
        exact_ms = samples[int(share * len(samples)) - 1] * 1_000
        assert found == pytest.approx(exact_ms, rel=0.001, abs=0.001)


def test_what_is_written_down_adds_up_to_what_was_counted() -> None:
    chance = random.Random(4)
    apart, together = [Latencies() for _ in range(3)], Latencies()
    for number in range(3_000):
        sample = chance.expovariate(200)
        apart[number % 3].record(sample)
        together.record(sample)

    summed = sum_of(one.histogram().encoded for one in apart)

    assert list(summed.buckets()) == list(together.histogram().buckets())
    assert sum(count for _, count in summed.buckets()) == 3_000
    assert summed.percentiles == together.percentiles()


def test_nothing_adds_up_to_nothing() -> None:
    assert list(sum_of([Histogram().encoded]).buckets()) == []


@pytest.mark.parametrize("text", ["", "x", "AAAA", "HISTFAAAAB", "é", "A" * 64])
def test_what_is_no_histogram_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no HDR histogram"):
        sum_of([text])
