"""Whoever comes through the front: admitted within the limits, served, and let go at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

import trio

from actors.connection import Connection
from actors.inboxes import InboxUnavailableError
from actors.limits import Limits
from actors.surroundings import Surroundings
from actors.transport import Transport
from ksmp.codec import Codec
from ksmp.types import ConnectionId
from relay.admissions import Admission, Admissions
from relay.auth import Authenticator, Identity, UnauthenticatedError
from relay.transport.http import HandshakeRefusedError

RETRY_MS: Final = 1_000
DRAINING_RETRY_MS: Final = 1_000
"""How soon a client may come back: this and up to twice as much again, so that not all come."""

LOOKED_AT_PER_TURN: Final = 256
"""Of the connections that may have been revoked."""


class Server:
    """`relay.transport.front.Reception`: knows all connections, and what befalls all of them."""

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
        self._admissions = Admissions()
        self._is_draining = False
        self._drains: trio.Nursery | None = None  # while `drain` runs: one task per connection
        self._all_left = trio.Event()  # set when draining and the last one has left

    @property
    def connections(self) -> int:
        """How many connections are admitted."""
        return self._admissions.number

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
        """See `Reception.admit`."""
        limits = self._around.limits
        if self._admissions.is_too_many_of_one(who, limits):
            raise HandshakeRefusedError("rate_limited", retry_after_ms=RETRY_MS)
        if self._is_draining:
            raise HandshakeRefusedError("draining", retry_after_ms=self._draining_retry_ms())
        if self._admissions.is_one_too_many(who, limits):
            raise HandshakeRefusedError("overloaded", retry_after_ms=RETRY_MS)
        self._admissions.add(who)

    async def serve(self, who: Admission, codec: Codec, transport: Transport) -> None:
        """See `Reception.serve`."""
        try:
            await self._serve(who, codec, transport)
        finally:
            self._admissions.remove(who)
            if self._is_draining and not self._admissions.number:
                self._all_left.set()

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
        if not self._admissions.number:
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
