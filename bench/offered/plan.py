"""What the generator of one load is told on standard input, and what it says when it is done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import Struct

from bench.plan import Progress, Refused, Started, Stopped


class OfferedPlan(Struct, frozen=True):
    """One load: so many sends per second of all users together, two tokens for each pair."""

    url: str
    tokens: tuple[str, ...]
    rate_per_s: float
    size: int
    seconds: float
    warm_up_seconds: float
    seed: int
    history: str
    relay: str


class Offered(Struct, frozen=True, tag="offered"):
    """The history is whole."""

    generator_cpu: float
    unread: int
    """How many inboxes could not be read once more at the end."""


Report = Started | Progress | Stopped | Offered | Refused

decode_plan: Final = msgspec.json.Decoder(OfferedPlan).decode
decode_report: Final[Callable[[bytes], Report]] = msgspec.json.Decoder(Report).decode
