"""What a row acts on: lines to the relay, connections of its own users, and their tokens."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

import trio

from tests.edge.case import Case, Way
from tests.edge.connection import Connection
from tests.edge.line import Line
from tests.edge.relays import CANARY, ISSUER, WatchedRelay
from tests.wire.codecs import JSON, Codec
from tests.wire.credentials import Claims, Issuer
from tests.wire.raw import host_of, request

_stages = count(1)


class Stage:
    """One run of one row. Whatever it names or sends should carry its `fresh` names."""

    def __init__(
        self,
        case: Case,
        way: Way,
        relay: WatchedRelay,
        issuer: Issuer,
        tls: ssl.SSLContext | None,
    ) -> None:
        self.way = way
        self.relay = relay
        self.issuer = issuer
        self.deviation = case.deviation if relay.transport == "trio-websocket" else None
        self._tls = tls
        self._number = next(_stages)
        self._names = count(1)
        self.user = self.fresh("user")

    def fresh(self, prefix: str) -> str:
        """An identifier that nobody has used, and that must not come out of the relay again."""
        return f"{CANARY}-{prefix}-{self._number}-{next(self._names)}"

    def token(self, user: str | None = None, device: str | None = None, **claims: object) -> str:
        """A good token, of the row's own user unless another is named; `claims` replace or add."""
        return self.issuer.sign(self.claims(user, device) | claims)

    def claims(self, user: str | None = None, device: str | None = None) -> Claims:
        """The claims of a good token."""
        claims = self.issuer.claims(user or self.user, device or f"{CANARY}-device")
        return claims | {"iss": ISSUER}

    @property
    def host(self) -> bytes:
        """The `Host` of a good request."""
        return host_of(self.relay.process.address)

    def request(self, token: str | None = None, **changes: object) -> bytes:
        """A good handshake with this token (one of the row's user), changed as `raw.request` may.

        An empty token leaves the header out.
        """
        shown = self.token() if token is None else token or None
        return request(self.host, token=shown, **changes)  # type: ignore[arg-type]

    @asynccontextmanager
    async def line(self, *, plain: bool = False) -> AsyncIterator[Line]:
        """A fresh line: over TLS where the relay speaks it, unless it is to be `plain`."""
        tcp = await trio.open_tcp_stream(*self.relay.process.address)
        stream: trio.abc.Stream = tcp
        if self._tls is not None and not plain:
            stream = trio.SSLStream(
                tcp, self._tls, server_hostname="localhost", https_compatible=True
            )
        line = Line(stream, tcp)
        try:
            yield line
        finally:
            await line.aclose()

    @asynccontextmanager
    async def connect(
        self,
        codec: Codec = JSON,
        *,
        user: str | None = None,
        device: str | None = None,
        token: str | None = None,
        resume: bool = True,
    ) -> AsyncIterator[Connection]:
        """A connection past `ksmpv3.connected`, of the row's user unless another is named.

        Where the row runs after ten good events, they are behind it; without `resume` there is
        none among them.
        """
        connecting = self.connect_fresh(codec, user=user, device=device, token=token)
        async with connecting as connection:
            if self.way is Way.AFTER:
                await connection.good_events(resume=resume)
            yield connection

    @asynccontextmanager
    async def connect_fresh(
        self,
        codec: Codec = JSON,
        *,
        user: str | None = None,
        device: str | None = None,
        token: str | None = None,
    ) -> AsyncIterator[Connection]:
        """A connection on which nothing has been said, in whichever way the row runs."""
        user = user or self.user
        device = device or f"{CANARY}-device"
        async with self.line() as line:
            await line.send(self.request(token or self.token(user, device), codec=codec))
            response = await line.response()
            assert response.status == 101, response
            connection = Connection(line, codec, user, device, self.fresh, self.deviation)
            connection.connected = await connection.event()
            assert connection.connected["type"] == "ksmpv3.connected"
            yield connection
