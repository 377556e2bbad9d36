"""Backpressure: when a connection must not be read, so that what its client costs is bounded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import trio

from actors.letters import Letter
from actors.limits import Limits
from actors.transport import Transport

LEAST_SECONDS_HELD_BACK: Final = 0.005


class Backpressure:
    """Owns how much of one connection is unanswered, and the pauses that follow from it.

    Its client waits, in the end, for room in the socket: nothing is refused, nothing is lost.
    """

    __slots__ = (
        "_bytes",
        "_is_held_back",
        "_limits",
        "_reading_since",
        "_room",
        "_transport",
        "unanswered",
    )

    def __init__(self, limits: Limits, transport: Transport, now: float) -> None:
        self._limits = limits
        self._transport = transport
        self.unanswered = 0
        """Letters of this connection that are under way."""

        self._bytes = 0
        self._room: trio.Event | None = None  # set when reading may go on
        self._is_held_back = False
        self._reading_since = now

    def expect(self, letter: Letter) -> None:
        """An answer to `letter` will come."""
        self.unanswered += 1
        self._bytes += letter.size

    def answered(self, letter: Letter) -> None:
        """It has come."""
        self.unanswered -= 1
        self._bytes -= letter.size

    @property
    def is_on(self) -> bool:
        """Whether too much is unanswered, or was not read by the client."""
        limits = self._limits
        return (
            self.unanswered >= limits.unacked_sends
            or self._bytes >= limits.unacked_bytes
            or self._transport.queued_bytes >= limits.outbound_bytes
        )

    async def wait(self, deliver: Callable[[], None]) -> None:
        """Until answers have come and frames have gone; `deliver` is called before that."""
        deliver()
        while self.is_on:
            self._room = trio.Event()
            await self._room.wait()
        self._room = None
        self._reading_since = trio.current_time()

    def look(self) -> None:
        """Something was answered, or written: maybe reading may go on."""
        if self._room is not None and not self.is_on:
            self._room.set()

    async def hold_back(self, until: float, deliver: Callable[[], None]) -> None:
        """Let the others have the event loop, for as long as what was refused is worth.

        Less than a few milliseconds are not waited for: the debt stays.
        """
        seconds = until - trio.current_time()
        if seconds < LEAST_SECONDS_HELD_BACK:
            return
        deliver()
        self._is_held_back = True
        await trio.sleep(seconds)
        self._is_held_back = False
        self._reading_since = trio.current_time()

    @property
    def reading_since(self) -> float | None:
        """Since when the client could have been heard; None where it is not listened to.

        So the clock of its silence stands while nobody reads.
        """
        return None if self._room is not None or self._is_held_back else self._reading_since
