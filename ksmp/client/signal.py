"""Wakes tasks that wait for something to change."""

from __future__ import annotations

from anyio import Event


class Signal:
    """`wake` wakes every task that waits at that moment and is not remembered for later ones.

    So a waiter looks at the state it cares about before and after each wait.
    """

    def __init__(self) -> None:
        self._event = Event()
        self._waiting = 0

    async def wait(self) -> None:
        """Return after the next `wake`."""
        self._waiting += 1
        try:
            await self._event.wait()
        finally:
            self._waiting -= 1

    def wake(self) -> None:
        """Wake all that wait; free where nobody does."""
        if self._waiting:
            self._event.set()
            self._event = Event()
