"""A conversation's mailbox: bounded, and older than any one incarnation that reads it.

What an incarnation has taken stays *in hand* here until it is answered, so that the next
incarnation finds what a crash left behind. A letter is moved there only when its taker runs again,
so a taker that fails on its way back from waiting leaves it in its place.

An incarnation that has handed to the log all that it has in hand *holds* the mailbox: it is woken
again when that has come back and there is something to do, once instead of twice.
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
        "_has_returned",
        "_is_held",
        "_max_bytes",
        "_max_letters",
        "_taker",
        "_waiting",
        "_waiting_bytes",
        "blame",
        "in_hand",
        "is_closed",
        "quarantined_until",
    )

    def __init__(self, max_letters: int, max_bytes: int) -> None:
        self._max_letters = max_letters
        self._max_bytes = max_bytes
        self._waiting: deque[Letter] = deque()
        self._waiting_bytes = 0
        self._taker: trio.lowlevel.Task | None = None  # while it waits
        self._is_held = False
        self._has_returned = False  # what is in hand is to be taken once more
        self.in_hand: list[Letter] = []
        self.blame = Blame()
        self.is_closed = False
        self.quarantined_until = 0.0

    def put(self, letter: Letter) -> bool:
        """Queue `letter`; False when the mailbox is full. One letter always fits an empty one."""
        if self._waiting and (
            self._waiting_bytes + letter.size > self._max_bytes
            or len(self._waiting) >= self._max_letters
        ):
            return False
        self._waiting.append(letter)
        self._waiting_bytes += letter.size
        self._wake()
        return True

    async def take(self, gather: Callable[[], Awaitable[None]] | None = None) -> list[Letter]:
        """Wait for letters and put all that wait in hand, up to a batch; empty once closed.

        With the first in hand, `gather` is awaited for as long as others had better join it.
        Whoever takes again has answered what it took before, or holds the mailbox.
        """
        if not self._is_held and not self._has_returned:
            self.in_hand = []
        await self._until_there_is_something()
        if self._has_returned:
            self._has_returned = False
            return self.in_hand
        self.in_hand = []
        if not self._waiting:
            return []
        size = self._move_to_hand().size
        if gather is not None:
            await gather()
        while self._waiting and len(self.in_hand) < BATCH_LETTERS and size < BATCH_BYTES:
            size += self._move_to_hand().size
        return self.in_hand

    def hold(self) -> None:
        """What is in hand is under way: whoever takes is not woken before `release`."""
        self._is_held = True

    def release(self) -> bool:
        """What was under way has come back; whether all in hand is answered.

        What is not is taken once more, before anything else.
        """
        self._is_held = False
        self.in_hand = [letter for letter in self.in_hand if letter.is_open]
        self._has_returned = bool(self.in_hand)
        self._wake()
        return not self.in_hand

    def take_again(self) -> list[Letter]:
        """What a failed incarnation took and did not answer. Called by the next, at its start."""
        self._is_held = self._has_returned = False
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
        self._wake()

    @property
    def _has_something(self) -> bool:
        if self._is_held:
            return False
        return bool(self._waiting) or self._has_returned or self.is_closed

    async def _until_there_is_something(self) -> None:
        """Always a checkpoint."""
        if self._has_something:
            await trio.lowlevel.checkpoint()
        else:
            self._taker = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._give_up)

    def _wake(self) -> None:
        if self._taker is not None and self._has_something:
            taker, self._taker = self._taker, None
            trio.lowlevel.reschedule(taker)

    def _give_up(self, _: object) -> trio.lowlevel.Abort:
        self._taker = None
        return trio.lowlevel.Abort.SUCCEEDED

    def _move_to_hand(self) -> Letter:
        letter = self._waiting.popleft()
        self._waiting_bytes -= letter.size
        self.in_hand.append(letter)
        return letter
