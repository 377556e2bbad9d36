"""How much a relay can do at most, of the kind of load that an open loop is made of.

A closed loop: each side of some conversations sends, waits for the ack, and sends again. So each
message comes by itself, in a read of its own, as it does in an open loop. With more in flight on a
connection, or very many at once, the relay would save work by sharing reads and commits among more
messages than an open loop at half that rate ever has under way, and half of that would not be half
of what it can do: with 400 under way it was 77 % of a core, with 50 half of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from bench.ordering import GENERATOR
from bench.plan import Plan
from bench.run import run_generator

IN_FLIGHT: Final = 1
MOST_PAIRS: Final = 25
"""Who send at once, two each: about as many sends are under way in a loaded open loop."""

SECONDS: Final = 4.0
WARM_UP_SECONDS: Final = 1.5


def saturation_of(
    url: str, tokens: Sequence[str], pid: int | None, size: int, version: str, share: float = 1.0
) -> float:
    """Acks per second of this relay, of all conversations together; `share` is of the usual time.

    Raises:
        RunError: it cannot be measured.
    """
    with TemporaryDirectory(prefix="ksmp-saturation-") as name:
        plan = Plan(
            url,
            tuple(tokens[: 2 * MOST_PAIRS]),
            IN_FLIGHT,
            size,
            SECONDS * share,
            WARM_UP_SECONDS * share,
            history=str(Path(name) / "history"),
            relay=version,
        )
        return run_generator(GENERATOR, plan, pid, "saturation").measured.acked_per_s
