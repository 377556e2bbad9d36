"""What an experiment has seen, over time: every send of victims and bystanders, and what happened.

All times are seconds since the baseline began; latencies are from when a send was meant to be sent,
so that a sender held up by the relay does not hide how long its messages waited.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from msgspec import Struct

Phase = Literal["baseline", "fault", "recovery"]
Happening = Literal["failed", "restarted", "quarantined", "dead letter", "cut off", "stopped"]


class Span(NamedTuple):
    """When a phase began and ended."""

    began_s: float
    ended_s: float


@dataclass(slots=True)
class Series:
    """The sends of one group, in the order in which they were meant to be sent.

    Three arrays of one length. A latency is `math.inf` where it never happened.
    """

    meant_at_s: array[float] = field(default_factory=lambda: array("d"))
    ack_ms: array[float] = field(default_factory=lambda: array("d"))
    """Until the first ack, retries included."""

    delivery_ms: array[float] = field(default_factory=lambda: array("d"))
    """Until the recipient's connection was sent it, by resume or live."""


class Moment(Struct, frozen=True):
    """Something that happened to a victim, or to the relay."""

    at_s: float
    what: Happening
    took_ms: float | None = None
    """Of a restart: how long ago the failure was."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """One experiment, ready to be counted and drawn."""

    phases: Mapping[Phase, Span]
    bystanders: Series
    victims: Series
    moments: Sequence[Moment]
