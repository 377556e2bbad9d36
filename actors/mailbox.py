"""A conversation's mailbox: bounded, and older than any one incarnation that reads it.

Letters wait in a Trio memory channel. What an incarnation has taken stays *in hand* here until it
is answered, so that the next incarnation finds what a crash left behind.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable

import trio

from actors.blame import Blame
from actors.letters import Letter

BATCH_LETTERS = 64
"""Of one conversation at a time: however many one has, the others have their turn in between."""

BATCH_BYTES = 1 << 17
"""However large they are: others wait for a transaction as long as all that is in it takes."""


class Mailbox:
    """At most `max_letters` and `max_bytes` of letters wait in it; what is in hand is not counted.

    Any number of connections put; one incarnation at a time takes.
    """

    __slots__ = (
        "_max_bytes",
        "_receive",
        "_send",
        "_waiting",
        "_waiting_bytes",
        "blame",
        "in_hand",
        "is_closed",
        "quarantined_until",
    )

    def __init__(self, max_letters: int, max_bytes: int) -> None:
        self._send, self._receive = trio.open_memory_channel[Letter](max_letters)
        self._max_bytes = max_bytes
        # The same letters as in the channel. A receiver that fails on its way back from the
        # channel takes a letter out of it and never gets it; here it is still the first.
        self._waiting: deque[Letter] = deque()
        self._waiting_bytes = 0
        self.in_hand: list[Letter] = []
        self.blame = Blame()
        self.is_closed = False
        self.quarantined_until = 0.0

    def put(self, letter: Letter) -> bool:
        """Queue `letter`; False when the mailbox is full. One letter always fits an empty one."""
        if self._waiting_bytes and self._waiting_bytes + letter.size > self._max_bytes:
            return False
        try:
            self._send.send_nowait(letter)
        except trio.WouldBlock:
            return False
        self._waiting.append(letter)
        self._waiting_bytes += letter.size
        return True

    async def take(self, gather: Callable[[], Awaitable[None]] | None = None) -> list[Letter]:
        """Wait for letters and put all that wait in hand, up to a batch; empty once closed.

        With the first in hand, `gather` is awaited for as long as others had better join it.
        Whoever takes again has answered what it took before.
        """
        self.in_hand = []
        try:
            await self._receive.receive()
            self._move_to_hand()
            if gather is not None:
                await gather()
            size = self.in_hand[0].size
            while len(self.in_hand) < BATCH_LETTERS and size < BATCH_BYTES:
                self._receive.receive_nowait()
                size += self._move_to_hand().size
        except (trio.WouldBlock, trio.EndOfChannel):
            pass
        return self.in_hand

    def take_again(self) -> list[Letter]:
        """What a failed incarnation took and did not answer. Called by the next, at its start."""
        while len(self._waiting) > self._receive.statistics().current_buffer_used:
            self._move_to_hand()
        return [letter for letter in self.in_hand if letter.is_open]

    def empty(self) -> list[Letter]:
        """Take out every letter that nobody has answered and the log does not hold."""
        while self._waiting:
            self._move_to_hand()
        return [letter for letter in self.in_hand if letter.is_open and not letter.is_handed_over]

    @property
    def depth(self) -> int:
        """How many letters wait in it."""
        return len(self._waiting)

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits and nothing in hand is unanswered."""
        return not self._waiting and not any(letter.is_open for letter in self.in_hand)

    def close(self, quarantined_until: float = 0.0) -> None:
        """Take no more letters; an incarnation that waits for one is told so."""
        self.is_closed = True
        self.quarantined_until = quarantined_until
        self._send.close()

    def _move_to_hand(self) -> Letter:
        letter = self._waiting.popleft()
        self._waiting_bytes -= letter.size
        self.in_hand.append(letter)
        return letter
