"""How much a relay can do at most, of the kind of load that an experiment is made of.

It is a relay of its own, with a store of its own: the experiment begins on an empty one. That store
is always on the disk, as a relay's is that people use; of one in memory, which syncs at once, half
would be nearly all that an open loop can do, since no commit waits for others to join it.
"""

from __future__ import annotations

from typing import Final

from bench.isolation.experiment import Experiment
from bench.relay_of_its_own import relay_of_its_own
from bench.saturation import saturation_of

QUICKER: Final = 0.25
"""Of the usual time, for a quick run."""


def measure_saturation(experiment: Experiment, users: list[str], version: str) -> float:
    """Acks per second, of all conversations together.

    Raises:
        StartError: the relay does not start.
        RunError: it cannot be measured.
    """
    share = QUICKER if experiment.quick else 1.0
    with relay_of_its_own(users) as relay:
        return saturation_of(relay.url, relay.tokens, relay.pid, experiment.size, version, share)
