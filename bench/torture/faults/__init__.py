"""Every fault, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from bench.torture.fault import Fault
from bench.torture.faults import (
    clock,
    damage,
    errors,
    full,
    kills,
    kills_at_calls,
    resources,
    rivals,
    signals,
    stalls,
)

FAULTS: Final[Mapping[str, Fault]] = {
    fault.name: fault
    for faults in (
        kills,
        kills_at_calls,
        errors,
        stalls,
        full,
        signals,
        resources,
        clock,
        damage,
        rivals,
    )
    for fault in faults.FAULTS
}
