"""What fails is restarted: at once, then ever later, and not more often than its intensity."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from actors.supervisor import (
    Backoff,
    ChildSpec,
    Intensity,
    IntensityExceededError,
    supervise,
)
from actors.telemetry import hashed
from tests.actors.saboteur import Planted
from tests.recording_telemetry import RecordingTelemetry

OFTEN = Intensity(restarts=100, period_seconds=1_000.0)
ACTOR = hashed("conversation", "one")


class Failing:
    """A child that fails the first so many times, after living for a while."""

    def __init__(self, times: float, lives_for: float = 0.0) -> None:
        self.times = times
        self.lives_for = lives_for
        self.starts: list[float] = []

    async def run(self) -> None:
        self.starts.append(trio.current_time())
        await trio.sleep(self.lives_for)
        if len(self.starts) <= self.times:
            raise Planted


def no_jitter() -> float:
    return 0.0


@pytest.mark.rule("S1")
async def test_the_first_restart_is_at_once_and_the_next_ones_wait_ever_longer(
    autojump_clock: MockClock,
) -> None:
    child = Failing(6)
    backoff = Backoff(initial_seconds=1.0, max_seconds=4.0)
    spec = ChildSpec("x", child.run, intensity=OFTEN, backoff=backoff)
    await supervise(spec, RecordingTelemetry(), no_jitter)

    waits = [b - a for a, b in zip(child.starts, child.starts[1:], strict=False)]
    assert waits == pytest.approx([0.0, 0.5, 1.0, 2.0, 2.0, 2.0])


@pytest.mark.rule("S1")
@given(failures=st.integers(2, 500), jitter=st.floats(0, 1, exclude_max=True))
def test_a_delay_lies_between_half_and_the_whole_of_what_doubling_gives(
    failures: int, jitter: float
) -> None:
    backoff = Backoff(initial_seconds=0.5, max_seconds=60.0)
    whole = min(0.5 * 2.0 ** (failures - 2), 60.0)

    assert whole / 2 <= backoff.delay(failures, jitter) <= whole
    assert backoff.delay(failures, 0.0) < backoff.delay(failures, 0.9)


@pytest.mark.rule("S2")
async def test_one_failure_too_many_within_the_period_reaches_the_parent_with_its_cause(
    autojump_clock: MockClock,
) -> None:
    child = Failing(float("inf"))
    spec = ChildSpec("x", child.run, intensity=Intensity(3, 10.0))
    with pytest.raises(IntensityExceededError) as escalated:
        await supervise(spec, RecordingTelemetry(), no_jitter)

    assert isinstance(escalated.value.__cause__, Planted)
    assert len(child.starts) == 4


@pytest.mark.rule("S2")
async def test_failures_that_are_spread_over_periods_are_restarted_for_ever(
    autojump_clock: MockClock,
) -> None:
    child = Failing(50, lives_for=3.4)
    spec = ChildSpec("x", child.run, intensity=Intensity(3, 10.0))
    await supervise(spec, RecordingTelemetry(), no_jitter)

    assert len(child.starts) == 51


async def test_a_failure_after_a_quiet_period_is_again_restarted_at_once(
    autojump_clock: MockClock,
) -> None:
    child = Failing(20, lives_for=10.0)
    spec = ChildSpec("x", child.run, intensity=Intensity(1, 10.0), backoff=Backoff(5.0, 5.0))
    await supervise(spec, RecordingTelemetry(), no_jitter)

    assert child.starts == [10.0 * n for n in range(21)]


async def test_an_intensity_of_zero_restarts_nothing(autojump_clock: MockClock) -> None:
    child = Failing(1)
    with pytest.raises(IntensityExceededError):
        await supervise(
            ChildSpec("x", child.run, intensity=Intensity(0)), RecordingTelemetry(), no_jitter
        )

    assert len(child.starts) == 1


async def test_a_transient_child_that_is_done_is_left_alone(autojump_clock: MockClock) -> None:
    child = Failing(0)
    await supervise(ChildSpec("x", child.run), RecordingTelemetry(), no_jitter)

    assert len(child.starts) == 1


@pytest.mark.rule("S4")
async def test_a_permanent_child_is_restarted_though_it_only_returned(
    autojump_clock: MockClock,
) -> None:
    child = Failing(0, lives_for=1.0)
    spec = ChildSpec("x", child.run, "permanent", intensity=Intensity(4, 100.0))
    with pytest.raises(IntensityExceededError) as escalated:
        await supervise(spec, RecordingTelemetry(), no_jitter)

    assert len(child.starts) == 5
    assert escalated.value.__cause__ is None


@pytest.mark.rule("S3")
@pytest.mark.parametrize("waits_to_restart", [False, True])
async def test_cancelling_stops_the_child_without_a_word_of_failure(
    autojump_clock: MockClock, waits_to_restart: bool
) -> None:
    child = Failing(2) if waits_to_restart else Failing(0, lives_for=1_000.0)
    telemetry = RecordingTelemetry()
    spec = ChildSpec("x", child.run, "permanent", intensity=OFTEN, backoff=Backoff(900.0, 900.0))
    with trio.move_on_after(5) as scope:
        await supervise(spec, telemetry, no_jitter)

    assert scope.cancelled_caught
    assert telemetry.events.count("actor.failed") == len(child.starts) - (not waits_to_restart)
    assert trio.current_time() == 5.0


@pytest.mark.parametrize("raised", [KeyboardInterrupt, SystemExit])
async def test_what_is_no_failure_of_the_child_passes_through(
    raised: Callable[[], BaseException],
) -> None:
    async def run() -> None:
        await trio.lowlevel.checkpoint()
        raise raised()

    with pytest.raises((KeyboardInterrupt, SystemExit)):
        await supervise(ChildSpec("x", run), RecordingTelemetry(), no_jitter)


async def test_a_childs_life_is_told_from_start_to_end(autojump_clock: MockClock) -> None:
    telemetry = RecordingTelemetry()
    child = Failing(2)
    await supervise(ChildSpec("x", child.run, identity=ACTOR), telemetry, no_jitter)

    assert telemetry.events == [
        "actor.started",
        "actor.failed",
        "actor.restarted",
        "actor.failed",
        "actor.restarted",
        "actor.terminated",
    ]
    assert {(line.fields["kind"], line.fields["actor"]) for line in telemetry.lines} == {
        ("x", ACTOR)
    }
    failed = telemetry.lines[1].fields
    assert failed["error"] == "Planted"
    assert str(failed["at"]).startswith("test_supervisor.py:")
