"""What the generator is told on standard input, and what it says on standard output.

One JSON object a line. In: one `LoadPlan`. Out: `Progress` now and then, `Started` when the
baseline begins, `Stopped` when the recovery is over, then `Done` or `Refused`, and it ends.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import Struct

from bench.isolation.experiment import Experiment
from bench.plan import Progress, Refused, Started, Stopped
from bench.relay_of_its_own import Admin


class LoadPlan(Struct, frozen=True):
    """One experiment on one relay.

    `tokens` are two for each conversation. They come here and not on the command line, where
    everybody on the machine could read them.
    """

    experiment: Experiment
    rate_per_s: float
    url: str
    tokens: tuple[str, ...]
    flooding_tokens: tuple[str, ...]
    """Of further devices of the victims' users, two for each victim; only for a flood."""

    admin: Admin
    write_seconds: float
    """How long the relay waits for who does not read."""

    history: str
    relay: str
    """Its version, for the head of the history."""

    @property
    def warm_up_seconds(self) -> float:
        """How long the load runs before the baseline begins.

        A new store is quick: its tables are small, and a commit changes few pages. A baseline of
        that would be of another relay than what follows.
        """
        return min(15.0, self.experiment.seconds / 4)


class Flooded(Struct, frozen=True):
    """What the flooders did: sends written, answers by kind, how often they were cut off."""

    written: int
    acked: int
    refused: int
    cut_off: int
    cpu_seconds: float


class Done(Struct, frozen=True, tag="done"):
    """The history is whole."""

    generator_cpu: float
    flooded: Flooded | None
    """Of a flood."""

    unread: int
    """How many inboxes could not be read once more at the end."""


Report = Started | Progress | Stopped | Done | Refused

encode: Final = msgspec.json.Encoder().encode
decode_plan: Final = msgspec.json.Decoder(LoadPlan).decode
decode_report: Final[Callable[[bytes], Report]] = msgspec.json.Decoder(Report).decode
