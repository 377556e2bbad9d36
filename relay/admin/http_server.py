"""HTTP/1.1 for an application, by anycorn, so that no peer can end it for the others.

anycorn's own accept loop ends, with every connection, when one request breaks its parser: a Host
that is not ASCII does. And it does not let a write be cancelled, so a peer who reads nothing would
be waited for without end; and a connection whose peer has gone keeps its place until it has been
idle for as long as any may be. So the loop is here, each connection is contained, a write has a
time, who has gone has gone, and at the end each connection is hung up on.

HTTP/2 is not spoken. Its state takes a megabyte of a head that never ends, keeps it in a cycle of
objects after the connection, and lets a peer hold answers back by its window. Nobody asks for it.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final, cast

import anycorn
import anyio.abc
import trio
from anycorn.protocol import ProtocolWrapper
from anycorn.protocol.h11 import H2CProtocolRequiredError, H2ProtocolAssumedError, H11Protocol
from anycorn.tcp_server import TCPServer
from anycorn.utils import wrap_app
from anycorn.worker_context import WorkerContext
from starlette.types import ASGIApp

if TYPE_CHECKING:
    from anycorn.typing import ASGIFramework

CONNECTIONS: Final = 32
IDLE_SECONDS: Final = 5
WRITE_SECONDS: Final = 10.0
LARGEST_REQUEST_BYTES: Final = 8 * 1024
RECEIVE_BYTES: Final = 64 * 1024
"""Of one read, as anycorn has it."""
REQUESTS_PER_CONNECTION: Final = 1_000
BACK_OFF_SECONDS: Final = 0.1


class HttpServer:
    """Serves `app` to at most `CONNECTIONS` peers at once; one too many is hung up on."""

    def __init__(self, app: ASGIApp, on_bug: Callable[[Exception], None]) -> None:
        """`on_bug` gets what ended a connection that should have lived on."""
        self._on_bug = on_bug
        self._open: set[socket.socket] = set()
        self._app = wrap_app(cast("ASGIFramework", app), 0, "asgi")
        self._settings = _settings()
        self._context = WorkerContext(None)

    async def serve(self, sockets: Sequence[socket.socket]) -> None:
        """Accept from listening sockets, which stay open, until cancelled."""
        async with trio.open_nursery() as nursery:
            for one in sockets:
                listener = await anyio.abc.SocketListener.from_socket(one.dup())
                nursery.start_soon(self._accept_from, listener, nursery)
            try:
                await trio.sleep_forever()
            finally:
                for connected in self._open:
                    with suppress(OSError):
                        connected.shutdown(socket.SHUT_RDWR)

    async def _accept_from(
        self, listener: anyio.abc.SocketListener, connections: trio.Nursery
    ) -> None:
        async with listener:
            while True:
                try:
                    stream = await listener.accept()
                except anyio.BrokenResourceError:  # out of descriptors, or the peer has gone again
                    await trio.sleep(BACK_OFF_SECONDS)
                else:
                    connections.start_soon(self._contain, stream)

    async def _contain(self, stream: anyio.abc.SocketStream) -> None:
        """One connection; nothing but a cancellation leaves this task."""
        connected = stream.extra(anyio.abc.SocketAttribute.raw_socket)  # noqa: S610 - not Django
        try:
            if len(self._open) < CONNECTIONS:
                self._open.add(connected)
                await self._converse(stream)
        except Exception as bug:  # noqa: BLE001 - whatever it is, it ends here
            self._on_bug(bug)
        except BaseExceptionGroup as group:
            rest = group.split(Exception)[1]
            if rest is not None:
                raise rest from None
        finally:
            self._open.discard(connected)
            with trio.CancelScope(shield=True):
                await stream.aclose()

    async def _converse(self, stream: anyio.abc.SocketStream) -> None:
        with trio.CancelScope() as conversation:
            punctual = cast("anyio.abc.SocketStream", _PunctualStream(stream, conversation.cancel))
            server = _OneProtocolServer(self._app, self._settings, self._context, {}, punctual)
            try:
                await server.run()
            except* (H2ProtocolAssumedError, H2CProtocolRequiredError):
                pass  # hung up on
            finally:
                # Its parts hold each other, and what they have read. We collect such cycles so
                # rarely that peers who come and go would make the process grow meanwhile.
                server.forget()


class _OneProtocolServer(TCPServer):
    """A connection that begins with HTTP/1.1 and raises where the peer wants another."""

    @property  # type: ignore[override]
    def protocol(self) -> H11Protocol:
        """What speaks on it."""
        return self._protocol

    @protocol.setter
    def protocol(self, chosen: ProtocolWrapper) -> None:
        """Anycorn has chosen what would change to HTTP/2 by itself: only its first is kept."""
        assert isinstance(chosen.protocol, H11Protocol)
        self._protocol = chosen.protocol

    def forget(self) -> None:
        """Nothing that was read or is to be written is held any more; it has run."""
        if "_protocol" in vars(self):
            vars(self._protocol).clear()
        vars(self).clear()


class _PunctualStream(anyio.abc.ByteStream):
    """The connection, but a peer who does not read is not waited for longer than a write's time."""

    def __init__(self, stream: anyio.abc.SocketStream, on_end: Callable[[], None]) -> None:
        """`on_end` is told that nothing will come any more."""
        self._stream = stream
        self._on_end = on_end

    @property
    # anyio names a type variable of its own, which is not to be had.
    def extra_attributes(self) -> Mapping[object, Callable[[], object]]:  # type: ignore[override]
        """Those of the connection."""
        return self._stream.extra_attributes

    async def receive(self, max_bytes: int = RECEIVE_BYTES) -> bytes:
        """What has come.

        Raises:
            EndOfStream, BrokenResourceError, ClosedResourceError: nothing will.
        """
        try:
            return await self._stream.receive(max_bytes)
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            self._on_end()
            raise

    async def send(self, item: bytes) -> None:
        """All of it, or the connection is given up.

        Raises:
            BrokenResourceError: the peer has gone, or does not read.
        """
        with trio.move_on_after(WRITE_SECONDS) as waiting:
            await self._stream.send(item)
        if waiting.cancelled_caught:
            await self.aclose()
            raise anyio.BrokenResourceError

    async def send_eof(self) -> None:
        """The last has been sent."""
        await self._stream.send_eof()

    async def aclose(self) -> None:
        """Release the socket."""
        await self._stream.aclose()


def _settings() -> anycorn.Config:
    settings = anycorn.Config()
    settings.errorlog = logging.getLogger("anycorn.error")  # and so into our own log
    settings.include_server_header = False
    settings.h11_max_incomplete_size = LARGEST_REQUEST_BYTES
    settings.keep_alive_timeout = IDLE_SECONDS
    settings.keep_alive_max_requests = REQUESTS_PER_CONNECTION
    settings.read_timeout = IDLE_SECONDS
    return settings
