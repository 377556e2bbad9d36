"""The admin listener: the pages behind the gate, over HTTP, beside everything else.

It serves from before the store is opened, which can take a while, until the relay has drained.
It runs under a supervisor of its own. What fails here is restarted, and if it fails on and on, left
alone for a while: the relay never ends because of it.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import trio
from starlette.types import ASGIApp, Receive, Scope, Send

from actors.failures import describe
from actors.supervisor import ChildSpec, IntensityExceededError, supervise
from actors.telemetry import Telemetry
from relay.admin.failpoints import TAKES_BODY
from relay.admin.gate import Gate
from relay.admin.http_server import HttpServer
from relay.admin.observed import Observed
from relay.admin.pages import OPEN_TO_ALL, Pages
from relay.admin.starting import starting_pages
from relay.admin.token import load_or_create_token
from relay.config import AdminConfig, Config
from relay.exits import CommandError
from relay.listening import bind

DEFAULT_PORT: Final = 8766
FLAG: Final = "--admin-port"
PAUSE_SECONDS: Final = 60.0
REPORT_EVERY_SECONDS: Final = 60.0


def open_admin(
    config: Config,
    telemetry: Telemetry,
    new_token: Callable[[], str],
    jitter: Callable[[], float],
) -> AdminListener | None:
    """The admin listener, bound, its token on disk; None where none is wanted.

    Raises:
        CommandError: the configured port cannot be had.
        KeyFileError: the token cannot be used.
    """
    if not config.admin.enabled:
        return None
    token = load_or_create_token(config.store.path, new_token)
    return AdminListener(bind_admin(config.admin), token, telemetry, jitter)


def bind_admin(config: AdminConfig) -> list[socket.socket]:
    """Listening sockets at the port that is configured, or else near the usual one.

    Raises:
        CommandError: the configured port cannot be had.
    """
    try:
        return bind(config.host, DEFAULT_PORT if config.port is None else config.port, FLAG)
    except CommandError:
        if config.port is not None:
            raise
        return bind(config.host, 0, FLAG)


class AdminListener:
    """Serves on sockets that are bound; what there is to see is handed in when it is there."""

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        token: bytes,
        telemetry: Telemetry,
        jitter: Callable[[], float],
    ) -> None:
        self._sockets = sockets
        self._token = token
        self._telemetry = telemetry
        self._jitter = jitter
        self._silent_until = 0.0
        self._pages: ASGIApp = starting_pages()

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        host, port = self._sockets[0].getsockname()[:2]
        return host, port

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Serve for as long as the block lasts. What the block raises comes out as it is."""
        failure: Exception | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.keep)
            try:
                yield
            except Exception as error:  # noqa: BLE001 - raised below, not as part of a group
                failure = error
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure

    async def keep(self) -> None:
        """Serve until cancelled, whatever fails."""
        host, port = self.address
        self._telemetry.info("admin.ready", host=host, port=port)
        await self._keep(self.run)

    async def observe(self, observed: Observed) -> None:
        """Show `observed` from now on, and watch what must be watched to be shown, as `keep` does.

        Cancelled, it only watches no more.
        """
        self._pages = Pages(observed, self._telemetry).application()

        async def watch() -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(observed.loop.run)
                nursery.start_soon(observed.store.run)

        await self._keep(watch)

    async def _keep(self, run: Callable[[], Awaitable[None]]) -> None:
        child = ChildSpec("admin", partial(_contain, run), "permanent")
        while True:
            try:
                await supervise(child, self._telemetry, self._jitter)
            except IntensityExceededError:
                self._telemetry.error("admin.paused", seconds=PAUSE_SECONDS)
                await trio.sleep(PAUSE_SECONDS)

    async def run(self) -> None:
        """Serve until cancelled."""
        gate = Gate(self._answer, self._token, OPEN_TO_ALL, TAKES_BODY)
        await HttpServer(gate, self._report).serve(self._sockets)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._pages(scope, receive, send)

    def _report(self, bug: Exception) -> None:
        """Say that a connection failed, but not as often as somebody likes."""
        now = trio.current_time()
        if now >= self._silent_until:
            self._silent_until = now + REPORT_EVERY_SECONDS
            self._telemetry.error("bug", where="admin", **describe(bug))


async def _contain(run: Callable[[], Awaitable[None]]) -> None:
    """What fails while `run` is cancelled is of no interest any more, and stops here."""
    try:
        await run()
    except BaseExceptionGroup as group:
        rest = group.split(Exception)[1]
        if rest is None:
            raise
        raise rest from None
