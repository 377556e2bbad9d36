"""What the generator of a reconnect storm is told, and what it says: one JSON object a line.

In: one `StormPlan`. Out: `Progress` now and then, `Opened` when all are connected, `Started` when
they begin to come back, `Stopped` when the last has caught up, then `Returned` or `Refused`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import Struct

from bench.idle_plan import Opened
from bench.plan import Progress, Refused, Started, Stopped


class StormPlan(Struct, frozen=True):
    """Everybody of `tokens` drops at once and is back within `spread_seconds`, and then some.

    `senders` stay, and write `messages` to each before, and as many while all are away.
    """

    url: str
    tokens: tuple[str, ...]
    senders: tuple[str, ...]
    messages: int
    size: int
    spread_seconds: float
    seed: int
    history: str
    relay: str


class Returned(Struct, frozen=True, tag="returned"):
    """All are back, and have everything."""

    caught_up_seconds: float
    """From the moment at which the first might come back until the last had its last record."""

    repeated_handshakes: int
    """Attempts that the relay refused or left unanswered, and that were made again."""

    missing: int
    """Records that had not come to whom they were for when the time for that was over."""

    generator_cpu: float


StormReport = Opened | Progress | Started | Stopped | Returned | Refused

decode_plan: Final = msgspec.json.Decoder(StormPlan).decode
decode_report: Final[Callable[[bytes], StormReport]] = msgspec.json.Decoder(StormReport).decode
