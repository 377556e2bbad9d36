"""Restarting what fails, at a limited rate, and saying so.

A child is a coroutine function that runs until its work is done. `supervise` runs it in the
calling task: the parent's nursery owns the child, and nothing here outlives it. Words are those
of Erlang/OTP: intensity and period, restart type, escalate.

    the child returns              it is done, or restarted if it is permanent
    the child raises Exception     Failed; Restarted after a growing delay, the first at once
    more than `intensity` failures within `period_seconds`
                                   IntensityExceededError: the parent decides (quarantine, escalate)
    the child is cancelled         Cancelled passes: that is a parent stopping it, not a failure
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

import trio

from actors.failures import describe
from actors.telemetry import Hashed, Telemetry


class IntensityExceededError(Exception):
    """A child failed more often than its specification allows; its last failure is the cause."""


@dataclass(frozen=True, slots=True)
class Intensity:
    """How often a child may fail: `restarts` within any `period_seconds`; 0 means never."""

    restarts: int = 5
    period_seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before a restart: the first in the period is at once.

    Then `initial_seconds`, doubling up to `max_seconds`, each between half and the whole of it.
    """

    initial_seconds: float = 0.01
    max_seconds: float = 1.0

    def delay(self, failures: int, jitter: float) -> float:
        """Seconds before the restart that follows the n-th failure; `jitter` is in [0, 1)."""
        if failures <= 1:
            return 0.0
        whole = min(self.initial_seconds * 2.0 ** (failures - 2), self.max_seconds)
        return float(whole * (0.5 + jitter / 2))


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """What to run, under which name, and what its end means.

    A `permanent` child is restarted whenever it ends, a `transient` one only when it fails.
    """

    kind: str
    run: Callable[[], Awaitable[None]]
    restart: Literal["permanent", "transient"] = "transient"
    identity: Hashed | None = None
    intensity: Intensity = Intensity()
    backoff: Backoff = Backoff()
    is_cleared: Callable[[], bool] = lambda: False
    """Asked once at each failure: whether those before it turned out to be no fault of the child's.

    They then count no more towards the intensity, but still make the delay longer.
    """


class _Failures:
    """When a child has failed, within its period; an end that should not be is one as well."""

    def __init__(self, child: ChildSpec) -> None:
        self._child = child
        self._all: deque[float] = deque()
        self._counted: deque[float] = deque()

    def add(self) -> None:
        """One more, now."""
        now = trio.current_time()
        if self._child.is_cleared():
            self._counted.clear()
        for times in (self._all, self._counted):
            times.append(now)
            while times[0] <= now - self._child.intensity.period_seconds:
                times.popleft()

    @property
    def are_too_many(self) -> bool:
        """Whether the child is not to be restarted any more."""
        return len(self._counted) > self._child.intensity.restarts

    def __len__(self) -> int:
        """All of them, those that do not count included."""
        return len(self._all)


async def supervise(child: ChildSpec, telemetry: Telemetry, jitter: Callable[[], float]) -> None:
    """Run `child` to its end, through its failures.

    Raises:
        IntensityExceededError: it failed too often.
    """
    failures = _Failures(child)
    if telemetry.is_debug:
        telemetry.debug("actor.started", kind=child.kind, actor=child.identity)
    while True:
        failure: Exception | None = None
        try:
            await child.run()
        except Exception as error:  # noqa: BLE001 - whatever the child fails with
            failure = error
        if failure is None and child.restart == "transient":
            break
        failures.add()
        if failure is not None:
            telemetry.warning(
                "actor.failed", kind=child.kind, actor=child.identity, **describe(failure)
            )
        if failures.are_too_many:
            raise IntensityExceededError(child.kind) from failure
        await trio.sleep(child.backoff.delay(len(failures), jitter()))
        telemetry.info(
            "actor.restarted", kind=child.kind, actor=child.identity, failures=len(failures)
        )
    if telemetry.is_debug:
        telemetry.debug("actor.terminated", kind=child.kind, actor=child.identity)
