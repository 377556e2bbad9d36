"""What `actors.deadlines` promises: each thing is due at its moment, once, and not before."""

from __future__ import annotations

import pytest

from actors.deadlines import Deadlines, Due

NEVER = 1e9


@pytest.mark.parametrize(
    ("now", "due", "again_at"),
    [
        (100.0, Due.NOTHING, 130.0),
        (129.9, Due.NOTHING, 130.0),
        (130.0, Due.PING, 160.0),
        (159.9, Due.PING, 160.0),
        (160.0, Due.SILENCE, 160.0),
    ],
)
def test_silence_is_asked_about_after_one_keepalive_and_ends_after_two(
    now: float, due: Due, again_at: float
) -> None:
    assert Deadlines(NEVER, 30.0).look(now, 100.0) == (due, again_at)


def test_one_silence_is_asked_about_once_and_the_next_one_again() -> None:
    deadlines = Deadlines(NEVER, 30.0)

    assert deadlines.look(130.0, 100.0)[0] is Due.PING
    assert deadlines.look(140.0, 100.0) == (Due.NOTHING, 160.0)
    assert deadlines.look(175.0, 145.0)[0] is Due.PING


def test_who_is_not_listened_to_is_never_silent() -> None:
    assert Deadlines(NEVER, 30.0).look(1_000.0, None) == (Due.NOTHING, 1_030.0)


@pytest.mark.parametrize("heard", [None, 0.0, 40.0, 50.0])
def test_an_expired_token_comes_before_all_else(heard: float | None) -> None:
    deadlines = Deadlines(50.0, 30.0)

    assert deadlines.look(49.0, 49.0) == (Due.NOTHING, 50.0)
    assert deadlines.look(50.0, heard)[0] is Due.EXPIRY
