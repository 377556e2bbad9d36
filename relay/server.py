"""Whoever comes through the front: admitted within the limits, served, and let go at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

import trio

from actors.connection import Connection
from actors.inboxes import InboxUnavailableError
from actors.limits import Limits
from actors.surroundings import Surroundings
from actors.transport import Transport
from ksmp.codec import Codec
from ksmp.types import ConnectionId, DeviceId, UserId
from relay.auth import Authenticator, Identity, UnauthenticatedError
from relay.transport.http import HandshakeRefusedError

RETRY_MS: Final = 1_000
DRAINING_RETRY_MS: Final = 1_000
"""How soon a client may come back: this and up to twice as much again, so that not all come."""

LEAST_REPLACED: Final = 8
"""Replaced ones that are not gone may be a tenth of all connections, or so many if that is few."""

LOOKED_AT_PER_TURN: Final = 256
"""Of the connections that may have been revoked."""


@dataclass(frozen=True, slots=True)
class Admission:
    """An identity, the name of the connection it was given, and the address it is counted by."""

    identity: Identity
    connection_id: ConnectionId
    address: str


def most_replaced(connections: int) -> int:
    """How many replaced connections there can be beside so many that are not."""
    return max(connections // 10, LEAST_REPLACED)


class Server:
    """`relay.transport.front.Reception`: owns the count of connections and knows them all."""

    def __init__(
        self,
        surroundings: Surroundings,
        authenticator: Authenticator,
        new_connection_id: Callable[[], ConnectionId],
        is_revoked: Callable[[Identity], bool] = lambda _identity: False,
    ) -> None:
        """`is_revoked` is asked about those whose token was good when they came."""
        self._around = surroundings
        self._authenticator = authenticator
        self._new_connection_id = new_connection_id
        self._is_revoked = is_revoked
        self._connections: set[Connection] = set()
        self._admitted = 0
        self._present = 0  # devices: the admitted without those that are replaced
        self._devices: dict[UserId, Counter[DeviceId]] = {}
        self._addresses: Counter[str] = Counter()
        self._is_draining = False
        self._drains: trio.Nursery | None = None  # while `drain` runs: one task per connection
        self._all_left = trio.Event()  # set when draining and the last one has left

    @property
    def connections(self) -> int:
        """How many connections are admitted."""
        return self._admitted

    def adopt(self, limits: Limits, authenticator: Authenticator) -> None:
        """Judge who comes by these. Connections that are open keep what they were told."""
        self._around = replace(self._around, limits=limits)
        self._authenticator = authenticator

    def identify(self, token: str) -> Identity | None:
        """Who the fresh token of an open connection speaks for now; None where for nobody."""
        try:
            return self._authenticator.verify(token)
        except UnauthenticatedError:
            return None

    async def authenticate(self, token: str | None, address: str) -> Admission:
        """See `Reception.authenticate`."""
        identity = await self._authenticator.authenticate(token)
        return Admission(identity, self._new_connection_id(), address)

    def admit(self, who: Admission) -> None:
        """See `Reception.admit`. A connection that replaces another of its device takes its place.

        The replaced ones, until they are gone, are counted by themselves: whoever replaces himself
        without end has a limit, and takes no place from anyone else.
        """
        limits = self._around.limits
        identity = who.identity
        devices = self._devices.get(identity.user)
        is_new = devices is None or identity.device not in devices
        if devices is not None:
            counted = len(devices) if is_new else devices.total() - len(devices)
            if counted >= limits.connections_per_user:
                raise HandshakeRefusedError("rate_limited", retry_after_ms=RETRY_MS)
        if is_new and self._addresses[who.address] >= limits.connections_per_address:
            raise HandshakeRefusedError("rate_limited", retry_after_ms=RETRY_MS)
        if self._is_draining:
            raise HandshakeRefusedError("draining", retry_after_ms=self._draining_retry_ms())
        if is_new:
            has_room = self._present < limits.connections
        else:
            has_room = self._admitted - self._present < most_replaced(limits.connections)
        if not has_room:
            raise HandshakeRefusedError("overloaded", retry_after_ms=RETRY_MS)
        if devices is None:
            devices = self._devices[identity.user] = Counter()
        devices[identity.device] += 1
        self._addresses[who.address] += 1
        self._admitted += 1
        self._present += is_new

    async def serve(self, who: Admission, codec: Codec, transport: Transport) -> None:
        """See `Reception.serve`."""
        try:
            await self._serve(who, codec, transport)
        finally:
            self._dismiss(who)

    async def _serve(self, who: Admission, codec: Codec, transport: Transport) -> None:
        identity, around = who.identity, self._around  # the limits that it was admitted under
        inboxes = around.inboxes
        try:
            inbox = await inboxes.enter(identity.user)
        except InboxUnavailableError:
            transport.close(1011)
            await transport.aclose()
            return
        try:
            connection = Connection(who.connection_id, identity, codec, transport, inbox, around)
            with self._known(connection):
                await connection.run()
        finally:
            inboxes.leave(inbox)

    @contextmanager
    def _known(self, connection: Connection) -> Iterator[None]:
        """`connection`, whose `run` follows without a checkpoint, takes part in what befalls all.

        What has befallen them since it was admitted, while its inbox opened, is made good here.
        """
        self._connections.add(connection)
        try:
            self._end_if_revoked(connection)
            if self._drains is not None:
                self._drains.start_soon(connection.drain, self._draining_retry_ms())
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
            self._present -= 1
        if not devices:
            del self._devices[identity.user]
        if self._is_draining and not self._admitted:
            self._all_left.set()

    def refused(self, code: str) -> None:
        """Count a refused handshake."""
        self._around.telemetry.info("connection.refused", code=code)

    async def end_revoked(self) -> None:
        """End every connection whose latest token is revoked; others have turns in between."""
        for looked_at, connection in enumerate(tuple(self._connections), 1):
            if self._end_if_revoked(connection) or looked_at % LOOKED_AT_PER_TURN == 0:
                await trio.lowlevel.checkpoint()

    def _end_if_revoked(self, connection: Connection) -> bool:
        identity = connection.identity
        assert isinstance(identity, Identity)  # from a token that our authenticator has verified
        is_revoked = self._is_revoked(identity)
        if is_revoked:
            connection.revoke()
        return is_revoked

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
