"""The shape of the table: one row is one bad input and the exact answer to it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tests.edge.stage import Stage

Act = Callable[["Stage"], Awaitable[None]]
"""Sends the input and asserts the answer, and that what must still work works."""

BARE_END: Final = "the line ends without a close frame"
"""The one `deviation` that `Connection.closes` knows how to assert."""


class Way(Enum):
    """In which company an input comes."""

    ALONE = "alone"
    AFTER = "after ten good events"
    BESIDE = "while another client measures its latency"


class Profile(Enum):
    """How the relay of a row is configured; what is not named is the default."""

    PLAIN = "default limits"
    NARROW = "small messages"
    HASTY = "little time for handshakes"
    STRICT = "a low rate of sends"
    CROWDED = "few conversations in memory, and many sends at once"
    TLS = "TLS"


SETTINGS: Final[dict[Profile, dict[str, str]]] = {
    Profile.PLAIN: {},
    Profile.NARROW: {"LIMITS__MAX_CIPHERTEXT_BYTES": "4096"},
    Profile.HASTY: {"LIMITS__HANDSHAKE_SECONDS": "2"},
    Profile.STRICT: {"LIMITS__SENDS_PER_SECOND": "20", "LIMITS__SENDS_BURST": "60"},
    Profile.CROWDED: {
        "LIMITS__LIVE_CONVERSATIONS": "50",
        "LIMITS__SENDS_BURST": "2000",
    },
    Profile.TLS: {"LIMITS__HANDSHAKE_SECONDS": "2"},
}


@dataclass(frozen=True, slots=True)
class Case:
    """One row of docs/bad-input.md.

    `clause` is the title of the section of docs/protocol.md that decides it; `answer` says what
    `act` asserts. `deviation` is the answer on the transport `trio-websocket`, where it differs.
    """

    group: str
    input: str
    clause: str
    answer: str
    act: Act
    profile: Profile = Profile.PLAIN
    deviation: str | None = None
    is_handshake: bool = False
    """It comes before there is a connection: its ten good events are on another of its user."""
