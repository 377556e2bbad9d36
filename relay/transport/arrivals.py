"""Which sockets have something to read, known without a system call for each wait.

Trio's own wait tells the kernel, before every read of every connection, what is waited for. Here
each socket is told once, to an epoll of our own, and one task waits for that: its `wait_readable`
brings whatever has arrived anywhere since the last time, and it wakes those who wait.

Why nothing that arrives is slept through. The epoll is edge-triggered: it tells of a socket once
for whatever comes into it. So an edge is kept until a read has found the socket drained, by
bringing less than it asked for; what comes after that read is another edge. The peer's end alone
may have come before it, behind the bytes that were read: once that is told, or an error, the
socket counts as readable for good, and reading says what it is.

Nobody need be woken for what can be dealt with at once: whoever waits may leave a function that
reads and acts in the very turn that has found something. What that raises, its waiter is told.

A socket that nobody reads, because its connection pauses, is told of once for each segment that
still fits its buffer, and then no more.
"""

from __future__ import annotations

import select
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, Protocol

import trio

SOCKETS_PER_TURN: Final = 256
"""So many sockets are looked at before everybody else has a turn; the others keep their place."""

_ARRIVED: Final = select.EPOLLIN if sys.platform == "linux" else 0
_EDGES: Final = (
    _ARRIVED | select.EPOLLRDHUP | select.EPOLLET if sys.platform == "linux" else _ARRIVED
)


Take = Callable[[], bool]
"""Reads what has arrived; whether it wants to be called again. `BlockingIOError` if nothing has."""


class Epoll(Protocol):
    """What is used of a `select.epoll`."""

    def fileno(self) -> int:
        """The descriptor, for the event loop to wait on."""

    def register(self, fd: int, eventmask: int = ...) -> None:
        """Tell of what is in `eventmask` from now on, and of what is there already."""

    def unregister(self, fd: int) -> None:
        """Tell no more."""

    def poll(self, timeout: float | None = ..., maxevents: int = ...) -> list[tuple[int, int]]:
        """Descriptors and what is new with them."""

    def close(self) -> None:
        """Release the descriptor."""


class Arrivals:
    """Owns the epoll, and knows who waits for which socket. `run` must be running."""

    def __init__(self, epoll: Epoll) -> None:
        self._epoll = epoll
        self._signals: dict[int, EdgeSignal] = {}
        self._running = trio.CancelScope(shield=True)

    def watch(self, descriptor: int) -> EdgeSignal:
        """The signal of an open socket; it must be forgotten before the socket is closed."""
        signal = EdgeSignal(self, descriptor)
        self._epoll.register(descriptor, _EDGES)
        self._signals[descriptor] = signal
        return signal

    def forget(self, descriptor: int) -> None:
        """What `watch` began is over."""
        del self._signals[descriptor]
        self._epoll.unregister(descriptor)

    async def run(self) -> None:
        """Wake whoever waits, until `stop`: whoever is cancelled may have to read on to its end."""
        with self._running:
            while True:
                await trio.lowlevel.wait_readable(self._epoll)
                for descriptor, events in self._epoll.poll(0, SOCKETS_PER_TURN):
                    # What one takes may close another that was told of together with it.
                    if (signal := self._signals.get(descriptor)) is not None:
                        signal.note(events)

    def stop(self) -> None:
        """Wake nobody any more."""
        self._running.cancel()


class EdgeSignal:
    """Whether one socket has something to read. One task at a time waits."""

    __slots__ = (
        "_arrivals",
        "_descriptor",
        "_failure",
        "_has_ended",
        "_is_readable",
        "_take",
        "_waiter",
    )

    def __init__(self, arrivals: Arrivals, descriptor: int) -> None:
        self._arrivals = arrivals
        self._descriptor = descriptor
        self._is_readable = False
        self._has_ended = False
        self._waiter: trio.lowlevel.Task | None = None
        self._take: Take | None = None
        self._failure: Exception | None = None  # what the waiter is woken with

    async def wait(self, take: Take | None = None) -> None:
        """Wait until reading brings something, the end, or an error; always a checkpoint.

        With `take`, that is called instead, whenever something has arrived, and the wait goes on
        where it returns True and has drained the socket. What it raises is raised here, but for
        `BlockingIOError`: then there was nothing.

        Raises:
            BusyResourceError: another task waits.
            ClosedResourceError: `close` came first.
        """
        if self._is_readable:
            await trio.lowlevel.checkpoint()
            return
        if self._waiter is not None:
            raise trio.BusyResourceError("another task is waiting for this socket")
        self._waiter = trio.lowlevel.current_task()
        self._take = take
        await trio.lowlevel.wait_task_rescheduled(self._give_up)
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def drained(self) -> None:
        """A read has brought less than it asked for."""
        self._is_readable = self._has_ended

    def note(self, events: int) -> None:
        """The epoll has told of this socket."""
        self._is_readable = True
        self._has_ended |= events != _ARRIVED
        if self._take is not None:
            try:
                if self._take() and not self._is_readable:
                    return
            except BlockingIOError:
                return
            except Exception as error:  # noqa: BLE001 - it is the waiter's, and of no one else
                self._wake(error)
        self._wake()

    def close(self) -> None:
        """Watch no more; the socket is about to be closed. Called once."""
        self._arrivals.forget(self._descriptor)
        self._wake(trio.ClosedResourceError())

    def _wake(self, failure: Exception | None = None) -> None:
        if self._waiter is not None:  # else cancelled or closed, maybe by what it took
            waiter, self._waiter = self._waiter, None
            self._take, self._failure = None, failure
            trio.lowlevel.reschedule(waiter)

    def _give_up(self, _: object) -> trio.lowlevel.Abort:
        self._waiter = self._take = None
        return trio.lowlevel.Abort.SUCCEEDED


@asynccontextmanager
async def watching(open_epoll: Callable[[], Epoll | None]) -> AsyncIterator[Arrivals | None]:
    """Arrivals for as long as the block lasts; None where the operating system has no epoll.

    Every signal must be closed within the block.
    """
    epoll = open_epoll()
    if epoll is None:
        yield None
        return
    arrivals = Arrivals(epoll)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(arrivals.run)
            try:
                yield arrivals
            finally:
                arrivals.stop()
    finally:
        epoll.close()
