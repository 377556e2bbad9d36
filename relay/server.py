"""Whoever comes through the front: admitted within the limits, served, and let go at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import trio

from actors.connection import Connection
from actors.inboxes import InboxUnavailableError
from actors.surroundings import Surroundings
from actors.transport import Transport
from ksmp.codec import Codec
from ksmp.types import ConnectionId, DeviceId, UserId
from relay.auth import Authenticator, Identity
from relay.transport.http import HandshakeRefusedError

RETRY_MS: Final = 1_000
DRAINING_RETRY_MS: Final = 1_000
"""How soon a client may come back: this and up to twice as much again, so that not all come."""


@dataclass(frozen=True, slots=True)
class Admission:
    """An identity, the name of the connection it was given, and the address it is counted by."""

    identity: Identity
    connection_id: ConnectionId
    address: str


class Server:
    """`relay.transport.front.Reception`: owns the count of connections and knows them all."""

    def __init__(
        self,
        surroundings: Surroundings,
        authenticator: Authenticator,
        new_connection_id: Callable[[], ConnectionId],
    ) -> None:
        self._around = surroundings
        self._authenticator = authenticator
        self._new_connection_id = new_connection_id
        self._connections: set[Connection] = set()
        self._admitted = 0
        self._devices: dict[UserId, Counter[DeviceId]] = {}
        self._addresses: Counter[str] = Counter()
        self._is_draining = False
        self._drains: trio.Nursery | None = None  # while `drain` runs: one task per connection
        self._all_left = trio.Event()  # set when draining and the last one has left

    @property
    def connections(self) -> int:
        """How many connections are admitted."""
        return self._admitted

    async def authenticate(self, token: str | None, address: str) -> Admission:
        """See `Reception.authenticate`."""
        identity = await self._authenticator.authenticate(token)
        return Admission(identity, self._new_connection_id(), address)

    def admit(self, who: Admission) -> None:
        """See `Reception.admit`. A connection that replaces another of its device always fits."""
        limits = self._around.limits
        identity = who.identity
        devices = self._devices.get(identity.user)
        is_new = devices is None or identity.device not in devices
        if is_new and devices is not None and len(devices) >= limits.connections_per_user:
            raise HandshakeRefusedError("rate_limited", retry_after_ms=RETRY_MS)
        if is_new and self._addresses[who.address] >= limits.connections_per_address:
            raise HandshakeRefusedError("rate_limited", retry_after_ms=RETRY_MS)
        if self._is_draining:
            raise HandshakeRefusedError("draining", retry_after_ms=self._draining_retry_ms())
        if is_new and self._admitted >= limits.connections:
            raise HandshakeRefusedError("overloaded", retry_after_ms=RETRY_MS)
        if devices is None:
            devices = self._devices[identity.user] = Counter()
        devices[identity.device] += 1
        self._addresses[who.address] += 1
        self._admitted += 1

    async def serve(self, who: Admission, codec: Codec, transport: Transport) -> None:
        """See `Reception.serve`."""
        try:
            await self._serve(who, codec, transport)
        finally:
            self._dismiss(who)

    async def _serve(self, who: Admission, codec: Codec, transport: Transport) -> None:
        identity = who.identity
        inboxes = self._around.inboxes
        try:
            inbox = await inboxes.enter(identity.user)
        except InboxUnavailableError:
            transport.close(1011)
            await transport.aclose()
            return
        try:
            connection = Connection(
                who.connection_id, identity, codec, transport, inbox, self._around
            )
            with self._known(connection):
                await connection.run()
        finally:
            inboxes.leave(inbox)

    @contextmanager
    def _known(self, connection: Connection) -> Iterator[None]:
        """`connection`, whose `run` follows without a checkpoint, takes part in a drain."""
        self._connections.add(connection)
        if self._drains is not None:  # it was admitted before, and its inbox has opened since
            self._drains.start_soon(connection.drain, self._draining_retry_ms())
        try:
            yield
        finally:
            self._connections.discard(connection)

    def _dismiss(self, who: Admission) -> None:
        identity = who.identity
        self._admitted -= 1
        self._addresses[who.address] -= 1
        if not self._addresses[who.address]:
            del self._addresses[who.address]
        devices = self._devices[identity.user]
        devices[identity.device] -= 1
        if not devices[identity.device]:
            del devices[identity.device]
        if not devices:
            del self._devices[identity.user]
        if self._is_draining and not self._admitted:
            self._all_left.set()

    def refused(self, code: str) -> None:
        """Count a refused handshake."""
        self._around.telemetry.info("connection.refused", code=code)

    async def drain(self) -> None:
        """Admit nobody more; answer what every connection has asked, and close them.

        Returns when everyone who was admitted has left, those included whose inbox was still
        being opened: they are told like the others, once they have been welcomed.
        """
        self._is_draining = True
        if not self._admitted:
            return
        try:
            async with trio.open_nursery() as self._drains:
                for connection in self._connections:
                    self._drains.start_soon(connection.drain, self._draining_retry_ms())
                await self._all_left.wait()
        finally:
            self._drains = None

    def _draining_retry_ms(self) -> int:
        return DRAINING_RETRY_MS + int(2 * DRAINING_RETRY_MS * self._around.jitter())
