"""Experiments that never took place, from a seed, for what draws and keeps real ones."""

from __future__ import annotations

import math
from array import array

import numpy as np

from bench.checker.check import Report
from bench.checker.order import Order
from bench.checker.verdict import Verdict
from bench.isolation.experiment import Experiment
from bench.isolation.findings import Bystanders, Findings, Restarts, Victims
from bench.isolation.timeline import Moment, Series, Timeline

EXPERIMENT = Experiment(
    fault="crash-loop",
    conversations=200,
    victims=5,
    seconds=60.0,
    rate_per_s=None,
    seed=7,
    quick=False,
)


def series(chance: np.random.Generator, count: int, seconds: float, typical_ms: float) -> Series:
    at_s = np.sort(chance.uniform(0, seconds, count))
    ack_ms = typical_ms * chance.lognormal(0, 0.35, count)
    late = chance.random(count) < 0.004
    ack_ms[late] *= chance.uniform(2, 6, late.sum())
    delivery_ms = ack_ms + chance.uniform(0.05, 0.4, count)
    return Series(array("d", at_s), array("d", ack_ms), array("d", delivery_ms))


def timeline(
    count: int = 3_000, *, seed: int = 1, never: int = 5, seconds: float = 60.0
) -> Timeline:
    """Bystanders that notice little, victims that are away for half of the fault."""
    chance = np.random.default_rng(seed)
    phases = Experiment("crash-loop", 200, 5, seconds, None, seed, False).phases
    bystanders = series(chance, count, seconds, 1.2)
    victims = series(chance, max(count // 40, 20), seconds, 1.3)
    began, ended = phases["fault"]
    for index, at_s in enumerate(victims.meant_at_s):
        if began <= at_s < ended and chance.random() < 0.7:
            waits = float(chance.uniform(30, 1_000 * (ended - at_s) + 40))
            victims.ack_ms[index], victims.delivery_ms[index] = waits, waits + 1
    inside = [i for i, at_s in enumerate(victims.meant_at_s) if began <= at_s < ended]
    for index in inside[:never]:
        victims.ack_ms[index] = victims.delivery_ms[index] = math.inf
    moments = []
    for at_s in np.sort(chance.uniform(began, ended, 400)).tolist():
        moments += [Moment(at_s, "failed"), Moment(at_s + 0.004, "restarted")]
    moments += [Moment(float(at), "quarantined") for at in np.linspace(began + 1, ended - 1, 12)]
    moments += [Moment(float(at), "dead letter") for at in np.linspace(began + 2, ended - 1, 40)]
    return Timeline(phases, bystanders, victims, sorted(moments, key=lambda one: one.at_s))


def report(text: str = "") -> Report:
    verdicts = (
        Verdict("I1", f"Every acked send is there.{text}", 3_000, "ok", 0, ()),
        Verdict("I9", "Frames come once, in order.", 0, "not exercised", 0, ()),
        Verdict("I17", "Others do not notice.", 900, "violated", 1, (f"0.1 s send{text}", "b")),
    )
    return Report(
        relay=f"0.1.0{text}",
        seed=7,
        seconds=60.0,
        records=9_000,
        sends=3_000,
        frames=6_000,
        restarts=0,
        whole=True,
        ok=True,
        order=Order(6_000, 0, 0, 0, 0),
        verdicts=verdicts,
    )


def findings(**changed: object) -> Findings:
    given: dict[str, object] = {
        "fault": "crash-loop",
        "conclusion": "isolated",
        "ok": True,
        "seed": 7,
        "conversations": 200,
        "rate_per_s": 4_711.5,
        "saturation_per_s": 9_423.0,
        "seconds": 60.0,
        "bystanders": Bystanders(
            conversations=195,
            samples=1_200,
            baseline_p50_ms=1.2,
            baseline_p99_ms=3.1,
            baseline_worst_ms=14.0,
            fault_p50_ms=1.2,
            fault_p99_ms=3.4,
            ratio=1.1,
            worst_ms=16.0,
            allowed_p99_ms=13.1,
            allowed_worst_ms=253.1,
            delivery_baseline_p99_ms=3.4,
            delivery_fault_p99_ms=3.7,
        ),
        "victims": Victims(
            conversations=5,
            sends=30,
            acked=25,
            refused=3,
            availability=0.42,
            fault_p99_ms=None,
            recovery_ms=812.0,
        ),
        "restarts": 400,
        "time_to_restart": Restarts(p50_ms=4.0, worst_ms=16_000.0),
        "quarantines": 12,
        "dead_letters": 40,
        "generator_cpu": 0.31,
        "relay_cpu": 0.55,
        "checker": report(),
    }
    return Findings(**{**given, **changed})  # type: ignore[arg-type]
