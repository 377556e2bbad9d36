"""Whether all the connections that may be open can be: each takes a descriptor of the process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from actors.telemetry import Telemetry
from relay.admissions import most_replaced
from relay.config import LimitsConfig
from relay.system import RESERVED_DESCRIPTORS, has_descriptors_for

REMEDY: Final = (
    "A flood of connections can use up all descriptors; newcomers then wait, and so do reloads."
    " Raise the hard limit (LimitNOFILE of a systemd unit), or lower [limits] connections."
)


def most_descriptors(limits: LimitsConfig) -> int:
    """How many can be open at once within `limits`, with what the relay itself needs."""
    connections = limits.connections + most_replaced(limits.connections) + limits.handshakes
    return connections + RESERVED_DESCRIPTORS


class DescriptorLimit:
    """Lifted as far as the system allows; who configures more than that is told, once."""

    def __init__(self, lift: Callable[[], int], telemetry: Telemetry) -> None:
        """`lift` says how many descriptors there can be now."""
        self._lift = lift
        self._telemetry = telemetry
        self._told: tuple[int, int] | None = None

    def adopt(self, limits: LimitsConfig) -> None:
        """Judge by these from now on."""
        allowed, needed = self._lift(), most_descriptors(limits)
        if has_descriptors_for(needed - RESERVED_DESCRIPTORS, allowed):
            self._told = None
        elif self._told != (allowed, needed):
            self._told = allowed, needed
            self._telemetry.warning(
                "relay.descriptors_low", descriptors=allowed, needed=needed, problem=REMEDY
            )
