"""Who is meant to send when: the whole load, decided by the seed before it begins.

An open loop: the times do not depend on what the relay does.
"""

from __future__ import annotations

import random
from array import array
from dataclasses import dataclass
from typing import Final

from bench.isolation.experiment import Experiment
from bench.open_loop.arrivals import NS, poisson

POISON_SHARE: Final = 0.1
"""Of the victims' sends, where the fault is poison."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Three columns, in the order of time. Sender n belongs to conversation n // 2."""

    at_ns: array[int]
    """Since the baseline begins; the warm-up is before 0."""

    sender: array[int]
    is_poison: bytearray


def victims_of(experiment: Experiment) -> tuple[int, ...]:
    """The conversations that are struck, by number: none in particular, where it is the disk."""
    if experiment.fault == "slow-sync":
        return ()
    chance = _chance(experiment.seed, "victims")
    return tuple(sorted(chance.sample(range(experiment.conversations), experiment.victims)))


def schedule_of(experiment: Experiment, rate_per_s: float, warm_up_seconds: float) -> Schedule:
    """Every send from the warm-up to the end of the last phase."""
    chance, poison = _chance(experiment.seed, "sends"), _chance(experiment.seed, "poison")
    poisoned = frozenset(victims_of(experiment)) if experiment.fault == "poison" else frozenset()
    schedule = Schedule(array("q"), array("l"), bytearray())
    senders = 2 * experiment.conversations
    for at, sender in poisson(chance, rate_per_s, -warm_up_seconds, experiment.seconds, senders):
        schedule.at_ns.append(int(at * NS))
        schedule.sender.append(sender)
        schedule.is_poison.append(sender // 2 in poisoned and poison.random() < POISON_SHARE)
    return schedule


def stuck_readers(experiment: Experiment) -> tuple[int, ...]:
    """Of each victim, the side that stops reading, by sender's number."""
    chance = _chance(experiment.seed, "stuck readers")
    return tuple(2 * victim + chance.randrange(2) for victim in victims_of(experiment))


def _chance(seed: int, purpose: str) -> random.Random:
    """A source of its own for each purpose: what one draws does not move the others."""
    return random.Random(f"{seed} {purpose}")
