"""A histogram counts each value once; a meter knows how long a commit takes and has taken."""

from __future__ import annotations

from math import inf

from hypothesis import given
from hypothesis import strategies as st

from storage.commit_meter import CommitMeter
from storage.histogram import Histogram


@given(st.lists(st.integers(0, 12)))
def test_each_bound_has_every_value_up_to_it(values: list[int]) -> None:
    histogram = Histogram([1, 5, 10])
    for value in values:
        histogram.observe(value)

    assert list(histogram.cumulative()) == [
        (bound, sum(value <= bound for value in values)) for bound in (1, 5, 10, inf)
    ]
    assert histogram.total == sum(values)


def test_a_commit_is_measured_from_its_begin_and_its_sync_apart() -> None:
    now = 7.0
    meter = CommitMeter(lambda: now)
    assert meter.under_way_seconds == 0.0
    meter.begin()
    now += 0.25
    meter.sync()
    now += 0.5
    assert meter.under_way_seconds == 0.75
    meter.synced(3)
    meter.end()

    assert meter.under_way_seconds == 0.0
    assert (meter.seconds.total, meter.sync_seconds.total, meter.operations.total) == (
        0.75,
        0.5,
        3,
    )


def test_a_transaction_that_stores_nothing_is_no_commit() -> None:
    meter = CommitMeter()
    meter.begin()
    meter.end()

    assert list(meter.seconds.cumulative())[-1] == (inf, 0)
