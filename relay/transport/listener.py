"""The accept loop: connections come in for as long as the relay lives, whatever any of them does.

    Listener.run ── one task per listening socket
        └── one contained task per connection: what it raises ends that connection alone, and
            is reported

When descriptors run out, whoever can is asked to make room; when nobody can, or memory runs out,
accepting pauses and tries again. Connections that are established are not touched.
"""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

import trio

from relay.transport.arrivals import Arrivals, Epoll, watching
from relay.transport.stream import NonBlockingSocket, TcpStream

ACCEPT_BATCH: Final = 64
BACK_OFF_SECONDS: Final = 0.1
REPORT_EVERY_SECONDS: Final = 60.0

_OUT_OF_DESCRIPTORS: Final = frozenset({errno.EMFILE, errno.ENFILE})
_OUT_OF_CAPACITY: Final = _OUT_OF_DESCRIPTORS | {errno.ENOBUFS, errno.ENOMEM}
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


class Listener:
    """Accepts connections and gives each to `meet`, in a task of its own."""

    def __init__(
        self,
        sockets: Sequence[ListeningSocket],
        meet: Callable[[TcpStream, str], Awaitable[None]],
        *,
        on_capacity: Callable[[int], None],
        on_bug: Callable[[Exception], None],
        make_room: Callable[[], bool] = lambda: False,
        open_epoll: Callable[[], Epoll | None] = lambda: None,
    ) -> None:
        """`meet` gets the connection and the network address at its other end.

        `on_capacity` gets the error number, at most once a minute; `on_bug` every bug.

        `make_room` frees a descriptor, if it can, and says whether it has. `open_epoll` opens what
        tells of all that arrives; without one, Trio is asked for each connection.
        """
        self._sockets = list(sockets)
        self._meet = meet
        self._on_capacity = on_capacity
        self._on_bug = on_bug
        self._make_room = make_room
        self._open_epoll = open_epoll
        self._last_report = -REPORT_EVERY_SECONDS

    async def run(self) -> None:
        """Accept until `close`, then wait for the last connection to end."""
        async with watching(self._open_epoll) as arrivals, trio.open_nursery() as connections:
            for listening in self._sockets:
                connections.start_soon(self._accept_from, listening, connections, arrivals)

    def close(self) -> None:
        """Stop accepting; connections that exist go on."""
        for listening in self._sockets:
            if listening.fileno() >= 0:
                trio.lowlevel.notify_closing(listening)
                listening.close()

    async def _accept_from(
        self, listening: ListeningSocket, connections: trio.Nursery, arrivals: Arrivals | None
    ) -> None:
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
                    if error.errno in _OUT_OF_DESCRIPTORS and self._make_room():
                        continue
                    await trio.sleep(BACK_OFF_SECONDS)
                    break
                connected.setblocking(False)
                peer = str(address[0]) if address else ""  # a Unix socket's peer has none
                connections.start_soon(self._contain, TcpStream(connected, arrivals), peer)

    async def _contain(self, stream: TcpStream, peer: str) -> None:
        """Meet one connection; nothing but a cancellation leaves this task."""
        try:
            await self._meet(stream, peer)
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

    def _report_bugs(self, error: Exception) -> None:
        if isinstance(error, ExceptionGroup):
            for inner in error.exceptions:
                self._report_bugs(inner)
        else:
            self._on_bug(error)
