"""The admin listener: the pages behind the gate, over HTTP, beside everything else.

It runs in a nursery of its own under a supervisor of its own. What fails here is restarted, and if
it fails on and on, left alone for a while: the relay never ends because of it.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, cast

import anycorn
import trio

from actors.supervisor import ChildSpec, IntensityExceededError, supervise
from actors.telemetry import Telemetry
from relay.admin.gate import Gate
from relay.admin.observed import Observed
from relay.admin.pages import OPEN_TO_ALL, Pages
from relay.admin.token import load_or_create_token
from relay.config import AdminConfig, Config
from relay.exits import CommandError
from relay.listening import bind

if TYPE_CHECKING:
    from anycorn.typing import ASGIFramework

DEFAULT_PORT: Final = 8766
FLAG: Final = "--admin-port"
PAUSE_SECONDS: Final = 60.0
IDLE_SECONDS: Final = 5
LARGEST_REQUEST_BYTES: Final = 8 * 1024
REQUESTS_PER_CONNECTION: Final = 4
SEND_BUFFER_BYTES: Final = 1 << 20  # the system gives less: see `bind_admin`


def open_admin(
    config: Config,
    observed: Observed,
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
    return AdminListener(bind_admin(config.admin), token, observed, telemetry, jitter)


def bind_admin(config: AdminConfig) -> list[socket.socket]:
    """Listening sockets, at the port that is configured, or at one near the usual.

    The answers to all requests of a connection fit into its send buffer, so that nobody who does
    not read them can hold up the end of the relay: the server below does not let a write be
    cancelled.

    Raises:
        CommandError: the configured port cannot be had.
    """
    try:
        sockets = bind(config.host, config.port if config.port is not None else DEFAULT_PORT, FLAG)
    except CommandError:
        if config.port is not None:
            raise
        sockets = bind(config.host, 0, FLAG)
    for listening in sockets:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    return sockets


class AdminListener:
    """Serves the pages of `observed` on sockets that are bound."""

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        token: bytes,
        observed: Observed,
        telemetry: Telemetry,
        jitter: Callable[[], float],
    ) -> None:
        self._sockets = sockets
        self._token = token
        self._observed = observed
        self._telemetry = telemetry
        self._jitter = jitter

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        host, port = self._sockets[0].getsockname()[:2]
        return host, port

    async def keep(self) -> None:
        """Serve until cancelled, whatever fails."""
        host, port = self.address
        self._telemetry.info("admin.ready", host=host, port=port)
        child = ChildSpec("admin", self._contain, "permanent")
        while True:
            try:
                await supervise(child, self._telemetry, self._jitter)
            except IntensityExceededError:
                self._telemetry.error("admin.paused", seconds=PAUSE_SECONDS)
                await trio.sleep(PAUSE_SECONDS)

    async def _contain(self) -> None:
        """What fails while this is cancelled is of no interest any more, and stops here."""
        try:
            await self.run()
        except BaseExceptionGroup as group:
            rest = group.split(Exception)[1]
            if rest is None:
                raise
            raise rest from None

    async def run(self) -> None:
        """Watch and serve until cancelled."""
        observed = self._observed
        gate = Gate(Pages(observed, self._telemetry).application(), self._token, OPEN_TO_ALL)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(observed.loop.run)
            nursery.start_soon(observed.store.run)
            # Without a trigger it looks at no signal under Trio; a cancellation ends it.
            await anycorn.serve(cast("ASGIFramework", gate), self._configuration(), mode="asgi")

    def _configuration(self) -> anycorn.Config:
        configuration = anycorn.Config()
        # It takes the descriptors it is given for its own, and closes them; a restart needs ours.
        configuration.bind = [f"fd://{os.dup(one.fileno())}" for one in self._sockets]
        configuration.errorlog = logging.getLogger("anycorn.error")  # and so into our own log
        configuration.include_server_header = False
        configuration.h11_max_incomplete_size = LARGEST_REQUEST_BYTES
        configuration.keep_alive_timeout = IDLE_SECONDS
        configuration.keep_alive_max_requests = REQUESTS_PER_CONNECTION
        configuration.read_timeout = IDLE_SECONDS
        configuration.graceful_timeout = 0
        return configuration
