"""What an experiment is to do: everything that has to be said to repeat it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from bench.isolation.findings import FaultName
from bench.isolation.timeline import Phase, Span

SHARES: Final[Mapping[Phase, float]] = {"baseline": 0.4, "fault": 0.4, "recovery": 0.2}
"""How the time is shared among the phases."""

DEFAULT_SIZE: Final = 256
DEFAULT_SLOWER_MS: Final = 20


LIMITS: Final[Mapping[str, tuple[int, int]]] = {
    "conversations": (2, 5_000),
    "victims": (1, 4_999),
    "seconds": (3, 3_600),
    "rate_per_s": (1, 1_000_000),
    "seed": (0, 2**53 - 1),
    "size": (1, 65_536),
    "slower_ms": (1, 10_000),
}
"""The least and the most of each."""

MOST_SENDS: Final = 10_000_000
"""All of them are planned before the first, and judged after the last, in memory."""


class Experiment(Struct, frozen=True):
    """One fault among many conversations. Equal experiments do the same, send by send.

    That holds where the rate is given; where it is None it is half of what the relay can do, which
    is measured first.
    """

    fault: FaultName
    conversations: int
    victims: int
    seconds: float
    """Of all phases together."""

    rate_per_s: float | None
    """Sends of all conversations together."""

    seed: int
    quick: bool
    """A try-out: too short to tell anything about speed."""

    size: int = DEFAULT_SIZE
    """Bytes of ciphertext in each message."""

    slower_ms: int = DEFAULT_SLOWER_MS
    """By how much `slow-sync` and `slow-loop` hold up the relay, each time."""

    in_memory: bool = False
    """The relay's store is in memory: what a disk does by itself is then not measured."""

    @property
    def phases(self) -> Mapping[Phase, Span]:
        """When each phase begins and ends, in seconds since the baseline began."""
        spans: dict[Phase, Span] = {}
        began = 0.0
        for phase, share in SHARES.items():
            spans[phase] = Span(began, began + share * self.seconds)
            began = spans[phase].ended_s
        return spans

    @property
    def problem(self) -> str | None:
        """Why this cannot be done, whoever has written it; None where it can."""
        for name, (least, most) in LIMITS.items():
            value: float | None = getattr(self, name)
            if value is not None and not least <= value <= most:
                return f"{name} is {value:g}, and {least:,} to {most:,} is possible"
        if self.victims >= self.conversations:
            of = f"{self.victims} victims of {self.conversations} conversations"
            return f"{of} leave no bystanders"
        if self.rate_per_s is not None and self.rate_per_s * self.seconds > MOST_SENDS:
            sends = f"{self.rate_per_s * self.seconds:,.0f} sends"
            return f"{sends} are too many to be judged: {MOST_SENDS:,} are the most"
        return None
