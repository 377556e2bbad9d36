"""When a connection's time is up: its token has run out, or its line has been silent for too long.

No clock and no I/O: whoever asks says what time it is, and does what is due.
"""

from __future__ import annotations

from enum import Enum


class Due(Enum):
    """What time asks of a connection."""

    NOTHING = "not yet"
    PING = "to ask whether the peer is still there"
    SILENCE = "to give the peer up: it has not answered"
    EXPIRY = "to end it: its token has run out"


class Deadlines:
    """Two of them. The line is asked after `keepalive_seconds` of silence, given up after twice."""

    __slots__ = ("_asked_after", "_keepalive_seconds", "expires_at")

    def __init__(self, expires_at: float, keepalive_seconds: float) -> None:
        self.expires_at = expires_at
        self._keepalive_seconds = keepalive_seconds
        self._asked_after = -1.0  # one ping for each silence

    def look(self, now: float, heard: float | None) -> tuple[Due, float]:
        """What is due now, and when to look again.

        `heard` is when the peer was last heard; None while it is not listened to.
        """
        due, again_at = self._look_at_silence(now, heard)
        if now >= self.expires_at:
            due = Due.EXPIRY
        return due, min(self.expires_at, again_at)

    def _look_at_silence(self, now: float, heard: float | None) -> tuple[Due, float]:
        keepalive = self._keepalive_seconds
        if heard is None:  # the silence is ours
            return Due.NOTHING, now + keepalive
        if now < heard + keepalive:
            return Due.NOTHING, heard + keepalive
        if now >= heard + 2 * keepalive:
            return Due.SILENCE, now
        if self._asked_after == heard:
            return Due.NOTHING, heard + 2 * keepalive
        self._asked_after = heard
        return Due.PING, heard + 2 * keepalive
