"""The seam between the front and the implementations of a WebSocket, and the choice among them.

The front has judged the request, knows who is asking and has let them in. From there on it is one
of these:

    websockets        relay.transport.websocket        the default
    trio-websocket    relay.transport.trio_websocket   the same contract, through another library
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Literal, Protocol

from actors.transport import Transport
from relay.transport.handshake import Upgrade
from relay.transport.limits import TransportLimits
from relay.transport.stream import ByteStream
from relay.transport.websocket import open_websocket

Websocket = Literal["websockets", "trio-websocket"]
"""The implementations, as the configuration calls them."""


class OpenTransport(Protocol):
    """Makes a WebSocket of a stream whose upgrade has been granted."""

    def __call__(
        self, stream: ByteStream, upgrade: Upgrade, rest: bytes, limits: TransportLimits
    ) -> AbstractAsyncContextManager[Transport]:
        """A transport for as long as the block lasts. `rest` came behind the request.

        The acceptance goes out by itself, before anything else. Entering the block is no
        checkpoint: who was let in is served, or not let in at all. What the transport needs beside
        the caller's task ends with the block, and what goes wrong in it ends the block.
        """


def opening(websocket: Websocket) -> OpenTransport:
    """How the implementation of this name is opened."""
    if websocket == "trio-websocket":
        # Whoever does not use it does not load it.
        from relay.transport.trio_websocket import open_trio_websocket

        return open_trio_websocket
    return open_websocket
