"""The accept loop: connections come in for as long as the relay lives, whatever any of them does.

    Listener.run ── one task per listening socket
        └── one contained task per connection: what it raises ends that connection, and is
            reported by type and place; never by content

When descriptors or memory run out, accepting pauses and tries again; connections that exist are
not touched.
"""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Protocol

import trio

from relay.transport.stream import NonBlockingSocket, TcpStream

ACCEPT_BATCH: Final = 64
BACK_OFF_SECONDS: Final = 0.1
REPORT_EVERY_SECONDS: Final = 60.0

_OUT_OF_CAPACITY: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
# Linux passes errors of the connection that was about to be accepted on to accept(2).
_CONNECTION_LOST: Final = frozenset(
    {
        errno.ECONNABORTED,
        errno.ECONNRESET,
        errno.EPERM,
        errno.EPROTO,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENOPROTOOPT,
        errno.EOPNOTSUPP,
        errno.ENONET,
        errno.EINTR,
    }
)


class Acceptable(NonBlockingSocket, Protocol):
    """A freshly accepted `socket.socket`."""

    def setblocking(self, flag: bool, /) -> None:
        """Turn waiting calls on or off."""


class ListeningSocket(Protocol):
    """What is used of a listening `socket.socket` in non-blocking mode."""

    def fileno(self) -> int:
        """The descriptor, for the event loop to wait on."""

    def accept(self) -> tuple[Acceptable, tuple[object, ...]]:
        """The next connection and its address, or `BlockingIOError`."""

    def close(self) -> None:
        """Stop listening."""


@dataclass(frozen=True, slots=True)
class Bug:
    """An exception nobody expected, without anything it carries."""

    kind: str
    place: str


class Listener:
    """Accepts connections and gives each to `meet`, in a task of its own."""

    def __init__(
        self,
        sockets: Sequence[ListeningSocket],
        meet: Callable[[TcpStream, str], Awaitable[None]],
        *,
        on_capacity: Callable[[int], None],
        on_bug: Callable[[Bug], None],
    ) -> None:
        """`on_capacity` gets the error number, at most once a minute; `on_bug` every bug."""
        self._sockets = list(sockets)
        self._meet = meet
        self._on_capacity = on_capacity
        self._on_bug = on_bug
        self._last_report = -REPORT_EVERY_SECONDS

    async def run(self) -> None:
        """Accept until `close`, then wait for the last connection to end."""
        async with trio.open_nursery() as connections:
            for listening in self._sockets:
                connections.start_soon(self._accept_from, listening, connections)

    def close(self) -> None:
        """Stop accepting; connections that exist go on."""
        for listening in self._sockets:
            if listening.fileno() >= 0:
                trio.lowlevel.notify_closing(listening)
                listening.close()

    async def _accept_from(self, listening: ListeningSocket, connections: trio.Nursery) -> None:
        while listening.fileno() >= 0:
            try:
                await trio.lowlevel.wait_readable(listening)
            except trio.ClosedResourceError:
                return
            for _ in range(ACCEPT_BATCH):
                try:
                    connected, address = listening.accept()
                except BlockingIOError:
                    break
                except OSError as error:
                    if error.errno in _CONNECTION_LOST:
                        continue
                    if error.errno not in _OUT_OF_CAPACITY:
                        raise
                    self._report_capacity(error.errno)
                    await trio.sleep(BACK_OFF_SECONDS)
                    break
                connected.setblocking(False)
                connections.start_soon(self._contain, TcpStream(connected), str(address[0]))

    async def _contain(self, stream: TcpStream, address: str) -> None:
        """Meet one connection; nothing but a cancellation leaves this task."""
        try:
            await self._meet(stream, address)
        except Exception as error:  # noqa: BLE001
            self._report_bugs(error)
        except BaseExceptionGroup as group:
            bugs, rest = group.split(Exception)
            if bugs is not None:
                self._report_bugs(bugs)
            if rest is not None:
                raise rest from None
        finally:
            stream.abort()

    def _report_capacity(self, error_number: int | None) -> None:
        now = trio.current_time()
        if now - self._last_report >= REPORT_EVERY_SECONDS:
            self._last_report = now
            self._on_capacity(error_number or 0)

    def _report_bugs(self, error: BaseException) -> None:
        if isinstance(error, BaseExceptionGroup):
            for inner in error.exceptions:
                self._report_bugs(inner)
        else:
            self._on_bug(Bug(type(error).__name__, _place(error.__traceback__)))


def _place(traceback: TracebackType | None) -> str:
    """Module and line where the exception was raised."""
    place = "unknown"
    while traceback is not None:
        module = traceback.tb_frame.f_globals.get("__name__", "unknown")
        place = f"{module}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return place
