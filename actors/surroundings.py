"""What every connection uses and none owns, and who a token says is connecting."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from actors.alarms import Alarms
from actors.inboxes import Inboxes
from actors.limits import Limits
from actors.router import Router
from actors.telemetry import Telemetry
from actors.traffic import Traffic
from ksmp.types import DeviceId, TimeMs, UserId
from storage.failpoints import Failpoints
from storage.log import Log

CLOCK_SKEW_SECONDS: Final = 30
"""How far the clocks of who issues tokens and of this relay may be apart."""


class Identity(Protocol):
    """Who a token says is connecting, and until when."""

    @property
    def user(self) -> UserId:
        """The authenticated user."""

    @property
    def device(self) -> DeviceId:
        """Which of the user's devices."""

    @property
    def expires_at_ms(self) -> TimeMs:
        """When the token expires."""

    def may_write_to(self, recipient: UserId) -> bool:
        """Whether the token allows sends to `recipient`."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Handed to each connection by whoever wires the relay."""

    log: Log
    router: Router
    inboxes: Inboxes
    alarms: Alarms
    limits: Limits
    telemetry: Telemetry
    wall_clock: Callable[[], TimeMs]
    jitter: Callable[[], float]
    identify: Callable[[str], Identity | None]
    """The identity in a token, None where it is not valid."""

    traffic: Traffic = field(default_factory=Traffic)
    failpoints: Failpoints | None = None
    """Where faults can be ordered, in a laboratory."""
