"""When somebody is meant to send: decided by the seed before anything runs."""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterator
from typing import Final, NamedTuple

NS: Final = 1_000_000_000


class Arrival(NamedTuple):
    """A send that is due, by anybody's number, at a time in seconds."""

    at_s: float
    sender: int


class Arrivals(NamedTuple):
    """Two columns, in the order of time."""

    at_ns: array[int]
    """Since the measuring begins; the warm-up is before 0."""

    sender: array[int]


def poisson(
    chance: random.Random, rate_per_s: float, began_s: float, ended_s: float, senders: int
) -> Iterator[Arrival]:
    """All senders together are one Poisson process, and each send is anybody's.

    So each sender by itself is a Poisson process, too.
    """
    at_s = began_s
    while (at_s := at_s + chance.expovariate(rate_per_s)) < ended_s:
        yield Arrival(at_s, chance.randrange(senders))


def arrivals_of(
    seed: str, rate_per_s: float, warm_up_seconds: float, seconds: float, senders: int
) -> Arrivals:
    """Every send of one load; the same seed gives the same ones."""
    arrivals = Arrivals(array("q"), array("l"))
    chance = random.Random(f"{seed} sends")
    for at_s, sender in poisson(chance, rate_per_s, -warm_up_seconds, seconds, senders):
        arrivals.at_ns.append(int(at_s * NS))
        arrivals.sender.append(sender)
    return arrivals
