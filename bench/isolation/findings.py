"""The result of an experiment; as JSON this is what `--json` prints and `result.json` holds."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from bench.checker.check import Report

Conclusion = Literal["isolated", "not isolated", "not enough data", "quick run, no result"]
FaultName = Literal[
    "crash-loop", "poison", "flood", "stuck-reader", "stuck-actor", "slow-sync", "slow-loop"
]


class Bystanders(Struct, frozen=True):
    """The conversations that the fault does not strike; latencies from the intended time.

    `samples` are those of the fault phase, or of the baseline where that has fewer. `ratio` is that
    of the ack's 99th percentiles, fault to baseline; the worst is of the whole fault phase. What
    was never acked (or delivered) is infinitely late: null. So is what nothing was measured of.
    """

    conversations: int
    samples: int
    baseline_p50_ms: float | None
    baseline_p99_ms: float | None
    baseline_worst_ms: float | None
    fault_p50_ms: float | None
    fault_p99_ms: float | None
    ratio: float | None
    worst_ms: float | None
    allowed_p99_ms: float | None
    allowed_worst_ms: float | None
    delivery_baseline_p99_ms: float | None
    delivery_fault_p99_ms: float | None


class Victims(Struct, frozen=True):
    """The conversations that the fault strikes, while it does.

    `sends` are those meant to be sent in the fault phase; `acked` of them were, sooner or later;
    `refused` counts refusals, each time. `availability`: the share that was acked within a second
    of the intended time; null where nobody is a victim. `recovery_ms`: from the end of the fault
    until the last of them was acked again; null where that was not seen.
    """

    conversations: int
    sends: int
    acked: int
    refused: int
    availability: float | None
    fault_p99_ms: float | None
    recovery_ms: float | None


class Restarts(Struct, frozen=True):
    """From a failure to the next incarnation, backoff included."""

    p50_ms: float | None
    worst_ms: float | None


class Findings(Struct, frozen=True):
    """What one experiment has shown.

    `ok`: the conclusion is `isolated`, every inbox could be read at the end, and no promise was
    seen broken; of a quick run, no promise but I17, which is about speed.
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
    """Share of a core that the load generator took while it measured; near 1 it was too slow."""

    relay_cpu: float | None
    """The relay's, likewise; null where the system does not tell."""

    checker: Report
    flooder_cpu: float | None = None
    """Share of a core that the flooders took, a process of their own; null without a flood."""

    unread: int = 0
    """Inboxes that could not be read at the end, as where the relay was gone: nothing is known of
    what they hold."""
