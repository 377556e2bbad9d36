"""How much a relay can do at most, of the kind of load that an experiment is made of.

A closed loop: each side of some conversations sends, waits for the ack, and sends again. So each
message comes by itself, in a read of its own, as it does in an open loop. With more in flight on a
connection, or very many at once, the relay would save work by sharing reads and commits among more
messages than an open loop at half that rate ever has under way, and half of that would not be half
of what it can do: with 400 under way it was 77 % of a core, with 50 half of one.

It is a relay of its own, with a store of its own: the experiment begins on an empty one. That store
is always on the disk, as a relay's is that people use; of one in memory, which syncs at once, half
would be nearly all that an open loop can do, since no commit waits for others to join it.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from bench.isolation.experiment import Experiment
from bench.ordering import GENERATOR
from bench.plan import Plan
from bench.relay_of_its_own import relay_of_its_own
from bench.run import run_generator

IN_FLIGHT: Final = 1
MOST_PAIRS: Final = 25
"""Who send at once, two each: about as many sends are under way in a loaded open loop."""

SECONDS: Final = 4.0
WARM_UP_SECONDS: Final = 1.5
QUICKER: Final = 0.25
"""Of that time, for a quick run."""


def measure_saturation(experiment: Experiment, users: list[str], version: str) -> float:
    """Acks per second, of all conversations together.

    Raises:
        StartError: the relay does not start.
        RunError: it cannot be measured.
    """
    share = QUICKER if experiment.quick else 1.0
    with (
        TemporaryDirectory(prefix="ksmp-saturation-") as name,
        relay_of_its_own(users) as relay,
    ):
        plan = Plan(
            relay.url,
            tuple(relay.tokens[: 2 * MOST_PAIRS]),
            IN_FLIGHT,
            experiment.size,
            SECONDS * share,
            WARM_UP_SECONDS * share,
            history=str(Path(name) / "history"),
            relay=version,
        )
        return run_generator(GENERATOR, plan, relay.pid, "saturation").measured.acked_per_s
