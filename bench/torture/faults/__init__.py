"""Every fault, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from bench.torture.fault import Fault
from bench.torture.faults import kills, kills_at_calls

FAULTS: Final[Mapping[str, Fault]] = {
    fault.name: fault for fault in (*kills.FAULTS, *kills_at_calls.FAULTS)
}
