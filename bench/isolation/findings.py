"""The result of an experiment; as JSON this is what `--json` prints and `result.json` holds."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from bench.checker.check import Report

Conclusion = Literal["isolated", "not isolated", "not enough data", "quick run, no result"]
FaultName = Literal["crash-loop", "flood", "stuck-reader", "slow-sync", "poison", "slow-loop"]


class Bystanders(Struct, frozen=True):
    """The conversations that the fault does not strike; latencies from the intended time.

    `ratio` is that of the ack's 99th percentiles, fault to baseline. The worst, of the whole fault
    phase, counts a send that was never acked as infinitely late, which is null here.
    """

    conversations: int
    samples: int
    baseline_p50_ms: float
    baseline_p99_ms: float
    baseline_worst_ms: float | None
    fault_p50_ms: float
    fault_p99_ms: float
    ratio: float
    worst_ms: float | None
    allowed_p99_ms: float
    allowed_worst_ms: float
    delivery_baseline_p99_ms: float
    delivery_fault_p99_ms: float


class Victims(Struct, frozen=True):
    """The conversations that the fault strikes, while it does.

    `availability`: of the sends that were meant for them, the share that was acked within a
    second. `recovery_ms`: from the end of the fault until the last of them was acked again; null
    where that was not seen.
    """

    conversations: int
    sends: int
    acked: int
    refused: int
    availability: float
    fault_p99_ms: float | None
    recovery_ms: float | None


class Restarts(Struct, frozen=True):
    """From a failure to the next incarnation, backoff included."""

    p50_ms: float | None
    worst_ms: float | None


class Findings(Struct, frozen=True):
    """What one experiment has shown.

    `ok`: the conclusion is `isolated`; of a quick run, that no promise but I17, which is about
    speed, was seen broken.
    """

    fault: FaultName
    conclusion: Conclusion
    ok: bool
    seed: int
    conversations: int
    rate_per_s: float
    saturation_per_s: float | None
    """Null where the rate was given."""

    seconds: float
    bystanders: Bystanders
    victims: Victims
    restarts: int
    time_to_restart: Restarts
    quarantines: int
    dead_letters: int
    generator_cpu: float
    relay_cpu: float | None
    checker: Report
