"""What the generator of idle connections is told on its standard input and says on its output.

One JSON object a line, as in `bench.plan`. In: one `IdlePlan`. Out: `Progress` meanwhile, `Opened`
when all are connected, `Started` and `Stopped` around the window that is measured, then `Waited` or
`Refused`, and the process ends.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import Struct

from bench.plan import Progress, Refused, Started, Stopped


class IdlePlan(Struct, frozen=True):
    """One connection for each token, all of them silent: first to settle, then to be measured."""

    url: str
    tokens: tuple[str, ...]
    seconds: float
    settle_seconds: float = 0.0


class Opened(Struct, frozen=True, tag="opened"):
    """Every connection is open and has resumed."""

    handshakes_per_s: float


class Waited(Struct, frozen=True, tag="waited"):
    """The wait is over, and every connection has been asked for a sign of life."""

    still_connected: int
    fewest_pings: int
    """Of the relay, answered by any connection that is still there."""
    pings: int
    """Of the relay, answered by all of them together while it was measured."""


IdleReport = Opened | Started | Progress | Stopped | Waited | Refused

decode_plan: Final = msgspec.json.Decoder(IdlePlan).decode
decode_report: Final[Callable[[bytes], IdleReport]] = msgspec.json.Decoder(IdleReport).decode
