"""One outcome that a task waits for and a callback brings."""

from __future__ import annotations

import trio

from storage.log import Outcome


class Pending:
    """A slot for one outcome of the log. One task may wait; the callback never does.

    A waiter that is cancelled goes away, and the outcome is kept for nobody.
    """

    __slots__ = ("_outcome", "_waiter")

    def __init__(self) -> None:
        self._outcome: Outcome | None = None
        self._waiter: trio.lowlevel.Task | None = None

    def settle(self, outcome: Outcome) -> None:
        """Store the outcome and wake the waiter, if there is one."""
        self._outcome = outcome
        if self._waiter is not None:
            waiter, self._waiter = self._waiter, None
            trio.lowlevel.reschedule(waiter)

    async def wait(self) -> Outcome:
        """The outcome, now or when it comes."""
        if self._outcome is None:
            self._waiter = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._give_up)
        assert self._outcome is not None
        return self._outcome

    def _give_up(self, _: object) -> trio.lowlevel.Abort:
        self._waiter = None
        return trio.lowlevel.Abort.SUCCEEDED
