"""A bucket lets through what it promises and no more; strikes count within their period."""

from __future__ import annotations

from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.rates import Strikes, TokenBucket, Window


def test_a_burst_goes_at_once_and_the_next_one_waits_for_its_token() -> None:
    bucket = TokenBucket(per_second=4, burst=3, now=100.0)

    assert [bucket.take(100.0) for _ in range(4)] == [0.0, 0.0, 0.0, 0.25]


def test_whoever_waits_as_long_as_told_is_let_through() -> None:
    bucket = TokenBucket(per_second=4, burst=1, now=0.0)
    bucket.take(0.0)
    wait = bucket.take(0.125)

    assert wait == pytest.approx(0.125)
    assert bucket.take(0.125 + wait) == 0.0


@pytest.mark.parametrize("burst", [1, 2, 400])
@pytest.mark.parametrize("per_second", [1, 2, 4, 256])
def test_after_the_burst_each_token_comes_at_its_time_and_not_before(
    per_second: int, burst: int
) -> None:
    bucket = TokenBucket(per_second, burst, now=1_000.0)
    assert [bucket.take(1_000.0) for _ in range(burst)] == [0.0] * burst
    step = 1.0 / per_second

    for tokens in range(1, 2 * burst):
        due = 1_000.0 + tokens * step
        assert bucket.take(due - step / 4_096) == step / 4_096
        assert bucket.take(due) == 0.0
        assert bucket.take(due) == step


def test_whoever_shares_a_bucket_and_comes_with_an_earlier_time_gains_and_loses_nothing() -> None:
    bucket = TokenBucket(per_second=1, burst=2, now=0.0)

    assert [bucket.take(now) for now in (10.0, 9.0, 9.5, 10.0, 11.0)] == [0.0, 0.0, 1.0, 1.0, 0.0]


@given(
    per_second=st.integers(1, 5_000),
    burst=st.integers(1, 20),
    begun=st.floats(0, 1e7),
    late=st.floats(0, 5),
)
def test_the_hint_in_whole_milliseconds_is_true_whatever_the_rate_and_the_clock(
    per_second: int, burst: int, begun: float, late: float
) -> None:
    bucket = TokenBucket(per_second, burst, begun)
    now = begun + late
    while not (wait := bucket.take(now)):
        pass

    assert bucket.take(now + (1 + int(wait * 1_000)) / 1_000) == 0.0


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


# ── windows ──────────────────────────────────────────────────────────────────────────────────


def counted(window: Window, limit: int, now: float) -> float:
    """Count one if it is within the limit; how long to wait otherwise."""
    wait = window.wait(limit, now)
    if not wait:
        window.count(now)
    return wait


def test_a_window_holds_as_many_as_its_limit_and_the_next_waits_for_the_first_to_leave() -> None:
    window = Window(60.0)

    assert [counted(window, 3, now) for now in (0.0, 20.0, 40.0, 50.0)] == [0.0, 0.0, 0.0, 10.0]
    assert [counted(window, 3, now) for now in (59.5, 60.0, 60.0)] == [0.5, 0.0, 20.0]


def test_what_is_close_together_leaves_together_and_not_before_its_last() -> None:
    window = Window(60.0)
    for now in (0.0, 0.5, 0.75):
        window.count(now)

    assert [window.wait(3, now) for now in (1.0, 60.5, 60.75)] == [59.75, 0.25, 0.0]


def test_what_is_taken_back_counts_no_more() -> None:
    window = Window(60.0)
    window.count(0.0)
    window.count(30.0)
    window.take_back()

    assert [counted(window, 2, 31.0), counted(window, 2, 31.0)] == [0.0, 59.0]


def test_taking_back_what_has_left_by_itself_changes_nothing() -> None:
    window = Window(60.0)
    window.count(0.0)
    assert window.is_empty(60.0)
    window.take_back()

    assert window.wait(1, 60.0) == 0.0
    assert window.is_empty(60.0)


def test_a_limit_that_was_lowered_waits_until_enough_have_left() -> None:
    window = Window(60.0)
    for now in (0.0, 10.0, 20.0, 30.0):
        window.count(now)

    assert [window.wait(limit, 30.0) for limit in (5, 4, 3, 1)] == [0.0, 30.0, 40.0, 60.0]


@given(
    limit=st.integers(1, 5),
    happenings=st.lists(st.tuples(st.floats(0, 30), st.booleans()), max_size=200),
)
def test_no_period_holds_more_than_the_limit(
    limit: int, happenings: list[tuple[float, bool]]
) -> None:
    now = 0.0
    window = Window(60.0)
    taken: list[float] = []
    for gap, is_taken_back in happenings:
        now += gap
        wait = counted(window, limit, now)
        if wait:
            assert deepcopy(window).wait(limit, now + wait + 1e-6) == 0.0
        elif is_taken_back:
            window.take_back()
        else:
            taken.append(now)

    for place, began in enumerate(taken):
        within = [one for one in taken[place:] if one < began + 60.0 - 1e-6]
        assert len(within) <= limit


def test_a_window_never_remembers_more_than_its_slices() -> None:
    window = Window(60.0)
    for step in range(10_000):
        window.count(step * 0.01)

    assert len(window._slices) <= 61
