"""A bucket lets through what it promises and no more; strikes count within their period."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.rates import Strikes, TokenBucket


def test_a_burst_goes_at_once_and_the_next_one_waits_for_its_token() -> None:
    bucket = TokenBucket(per_second=4, burst=3, now=100.0)

    assert [bucket.take(100.0) for _ in range(4)] == [0.0, 0.0, 0.0, 0.25]


def test_whoever_waits_as_long_as_told_is_let_through() -> None:
    bucket = TokenBucket(per_second=4, burst=1, now=0.0)
    bucket.take(0.0)
    wait = bucket.take(0.125)

    assert wait == pytest.approx(0.125)
    assert bucket.take(0.125 + wait) == 0.0


def test_what_is_refused_takes_no_token() -> None:
    bucket = TokenBucket(per_second=1, burst=1, now=0.0)
    bucket.take(0.0)

    assert {bucket.take(0.0) for _ in range(50)} == {1.0}
    assert bucket.take(1.0) == 0.0


def test_a_long_silence_earns_no_more_than_the_burst() -> None:
    bucket = TokenBucket(per_second=100, burst=2, now=0.0)

    assert [bucket.take(1_000.0) > 0 for _ in range(3)] == [False, False, True]


@given(
    per_second=st.integers(1, 50),
    burst=st.integers(1, 50),
    gaps=st.lists(st.floats(0, 2), max_size=200),
)
def test_no_period_lets_through_more_than_the_burst_and_its_share(
    per_second: int, burst: int, gaps: list[float]
) -> None:
    now = 0.0
    bucket = TokenBucket(per_second, burst, now)
    taken: list[float] = []
    for gap in gaps:
        now += gap
        if not bucket.take(now):
            taken.append(now)

    for first, began in enumerate(taken):
        for last, ended in enumerate(taken[first:], first):
            assert last - first + 1 <= burst + (ended - began) * per_second + 1e-6


def test_a_bucket_is_full_once_nothing_of_what_was_taken_counts_any_more() -> None:
    bucket = TokenBucket(per_second=2, burst=4, now=0.0)
    full = [bucket.is_full(0.0)]
    bucket.take(0.0)
    full += [bucket.is_full(0.0), bucket.is_full(0.4), bucket.is_full(0.5)]

    assert full == [True, False, False, True]


def test_the_strike_after_the_tolerated_ones_is_one_too_many() -> None:
    strikes = Strikes(allowed=3, period_seconds=10.0)

    assert [strikes.strike(now) for now in (0.0, 1.0, 2.0, 9.9)] == [False, False, False, True]


def test_strikes_that_are_spread_are_never_too_many() -> None:
    strikes = Strikes(allowed=3, period_seconds=9.0)

    assert not any(strikes.strike(3.0 * number) for number in range(100))
