"""From a fresh connection to an authenticated WebSocket: everything before the upgrade.

    TLS handshake (where configured) → request → judged → authenticated → admitted → 101 → served

All of it has `handshake_seconds`. Whatever is wrong is answered in HTTP and closed; a peer that
has not spoken HTTP by then, or has gone, is simply closed, and so is the oldest where too many are
at it. The caller's two decisions, who this is and whether there is room, are handed in.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Generic, Protocol, TypeVar

import trio

from actors.transport import Transport
from ksmp.codec import Codec
from relay.auth import UnauthenticatedError
from relay.transport.addresses import ClientAddresses
from relay.transport.handshake import Judge, Upgrade
from relay.transport.http import HandshakeRefusedError, RequestReader, refusal
from relay.transport.limits import TransportLimits
from relay.transport.opening import OpenTransport
from relay.transport.pending import PendingHandshakes
from relay.transport.stream import (
    BROKEN,
    LINGER_SECONDS,
    ByteStream,
    TcpStream,
    WrappedStream,
    close_gently,
)
from relay.transport.websocket import open_websocket

__all__ = ["Front", "Reception", "TransportLimits"]

Who = TypeVar("Who")


class Reception(Protocol[Who]):
    """What the relay decides about a connection whose request is in order."""

    async def authenticate(self, token: str | None, address: str) -> Who:
        """Who presents this token, from an address as connections are counted by.

        Raises:
            UnauthenticatedError: nobody, after a time that says nothing about the reason.
        """

    def admit(self, who: Who) -> None:
        """Let the connection in. `serve` follows, without a checkpoint, and gives the place back.

        Raises:
            HandshakeRefusedError: `rate_limited`, `overloaded` or `draining`.
        """

    async def serve(self, who: Who, codec: Codec, transport: Transport) -> None:
        """Live with the connection until it ends. Called once for each that was admitted."""


class Front(Generic[Who]):
    """Takes one connection after the other to `Reception.serve`, or answers why not."""

    def __init__(
        self,
        judge: Judge,
        reception: Reception[Who],
        limits: TransportLimits,
        *,
        open_transport: OpenTransport = open_websocket,
        tls: ssl.SSLContext | None = None,
        addresses: ClientAddresses = ClientAddresses(),
        on_refused: Callable[[str], None] = lambda _code: None,
    ) -> None:
        """`on_refused` is told the code of each refusal, for counting."""
        self._judge = judge
        self._reception = reception
        self._limits = limits
        self._open_transport = open_transport
        self._tls = tls
        self._addresses = addresses
        self._on_refused = on_refused
        self._pending = PendingHandshakes(limits.handshakes)

    async def meet(self, connected: TcpStream, peer: str) -> None:
        """Serve one connection, from its first byte to its last. It is closed afterwards.

        `peer` is the address at its other end: a client's, or a proxy's.
        """
        deadline = trio.current_time() + self._limits.handshake_seconds
        try:
            with self._pending.one(connected, self._addresses.of(peer, ())):
                admitted = await self._receive(connected, peer, deadline)
            if admitted is not None:
                who, codec, opened = admitted
                async with opened as transport:
                    await self._reception.serve(who, codec, transport)
        finally:
            connected.abort()

    def adopt(
        self,
        judge: Judge,
        limits: TransportLimits,
        *,
        tls: ssl.SSLContext | None,
        addresses: ClientAddresses,
    ) -> None:
        """Meet the next connections with these. A handshake under way goes on with them as well."""
        self._judge = judge
        self._limits = limits
        self._tls = tls
        self._addresses = addresses
        self._pending.adopt(limits.handshakes)

    @property
    def handshakes(self) -> int:
        """How many handshakes are in progress."""
        return len(self._pending)

    def make_room(self) -> bool:
        """Free a descriptor at the cost of the oldest handshake; False where none is going on."""
        return self._pending.end_one()

    async def _receive(
        self, connected: TcpStream, peer: str, deadline: float
    ) -> tuple[Who, Codec, AbstractAsyncContextManager[Transport]] | None:
        """An admitted connection; None for one that has gone, or was refused and told so."""
        stream = await self._secure(connected, deadline)
        if stream is None:
            return None
        try:
            return await self._establish(stream, peer, deadline)
        except HandshakeRefusedError as refused:
            self._on_refused(refused.code)
            await _answer(stream, refusal(refused))
            await close_gently(stream)
        except BROKEN:
            stream.abort()
        return None

    async def _establish(
        self, stream: ByteStream, peer: str, deadline: float
    ) -> tuple[Who, Codec, AbstractAsyncContextManager[Transport]]:
        """An admitted connection. The request and its token do not outlive this call."""
        upgrade, rest = await self._read_upgrade(stream, deadline)
        who = await self._authenticate(upgrade, self._addresses.of(peer, upgrade.forwarded_for))
        self._reception.admit(who)
        return who, upgrade.codec, self._open_transport(stream, upgrade, rest, self._limits)

    async def _secure(self, connected: TcpStream, deadline: float) -> ByteStream | None:
        """The stream of plain bytes; None where TLS was not established in time."""
        if self._tls is None:
            return connected
        secured = trio.SSLStream(connected, self._tls, server_side=True, https_compatible=True)
        try:
            with trio.move_on_at(deadline):
                await secured.do_handshake()
                return WrappedStream(secured, connected.abort)
        except BROKEN:
            pass
        return None

    async def _read_upgrade(self, stream: ByteStream, deadline: float) -> tuple[Upgrade, bytes]:
        reader = RequestReader()
        with trio.move_on_at(deadline):
            while True:
                chunk = await stream.receive_some()
                request = reader.receive(chunk)
                if request is not None:
                    return self._judge.judge(request), reader.rest
                if not chunk:
                    raise trio.BrokenResourceError  # it came and went without a word
        raise HandshakeRefusedError("handshake_timeout")

    async def _authenticate(self, upgrade: Upgrade, address: str) -> Who:
        try:
            return await self._reception.authenticate(upgrade.token, address)
        except UnauthenticatedError:
            raise HandshakeRefusedError("unauthenticated") from None


async def _answer(stream: ByteStream, answer: bytes) -> None:
    """Send an answer that fits any socket's buffer; a peer that does not take it is given up."""
    rest = memoryview(answer)
    try:
        with trio.fail_after(LINGER_SECONDS):
            while rest:
                rest = rest[await stream.send_some(rest) :]
    except (*BROKEN, trio.TooSlowError):
        stream.abort()
