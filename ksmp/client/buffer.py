"""Events that have arrived and that nobody has taken yet, bounded by their bytes."""

from __future__ import annotations

from collections import deque

from ksmp.client.errors import ClientError
from ksmp.client.signal import Signal
from ksmp.events import ServerEvent


class EventBuffer:
    """Keeps order; whoever puts waits while there are `max_bytes` or more.

    So a reader that falls behind holds at most `max_bytes` and one event, and the relay's socket
    fills instead.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._events: deque[tuple[ServerEvent, int]] = deque()
        self._bytes = 0
        self._end: ClientError | None = None
        self._changed = Signal()

    async def put(self, event: ServerEvent, size: int) -> None:
        """Add an event that was `size` bytes on the wire; wait first while the buffer is full.

        After `end` the event is dropped.
        """
        while self._bytes >= self._max_bytes and self._end is None:
            await self._changed.wait()
        if self._end is None:
            self._events.append((event, size))
            self._bytes += size
            self._changed.wake()

    async def take(self) -> ServerEvent:
        """The next event.

        Raises:
            ClientError: the one given to `end`, once all that came before it has been taken.
        """
        while not self._events:
            if self._end is not None:
                raise self._end.with_traceback(None)
            await self._changed.wait()
        event, size = self._events.popleft()
        self._bytes -= size
        self._changed.wake()
        return event

    def end(self, error: ClientError) -> None:
        """No event follows."""
        self._end = error
        self._changed.wake()
