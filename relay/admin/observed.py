"""The parts of the relay that the admin listener looks at.

It changes nothing but quarantines and what faults are ordered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from actors.router import Router
from actors.telemetry import Hashed
from actors.traffic import Traffic
from relay.admin.readiness import Readiness
from relay.admin.watches import LoopWatch, StoreWatch
from relay.lab.laboratory import Laboratory
from relay.telemetry import LineKind
from storage.commit_meter import CommitMeter
from storage.read_meter import ReadMeter


@dataclass(frozen=True, slots=True)
class Observed:
    """Handed to the admin listener by whoever wires the relay."""

    readiness: Readiness
    router: Router
    traffic: Traffic
    meter: CommitMeter
    read_meter: ReadMeter
    loop: LoopWatch
    store: StoreWatch
    lines: Mapping[LineKind, int]
    """How many lines of each kind the relay would have logged."""

    connections: Callable[[], int]
    handshakes: Callable[[], int]
    digest: Callable[[Hashed], str]
    """An identifier as the log shows it."""

    lab: Laboratory | None = None
    """Where faults are ordered; None in a relay that is no laboratory."""
