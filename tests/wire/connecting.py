"""How a test reaches one relay: as any user, on any device, with any of the clients."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, NamedTuple

from tests.wire import clients, raw
from tests.wire.codecs import JSON, MSGPACK, Codec
from tests.wire.credentials import Issuer
from tests.wire.messages import fresh
from tests.wire.recording import RecordedSocket, Recording
from tests.wire.relay_process import RelayProcess


class Clients(NamedTuple):
    """Clients of one relay, holding tokens of an issuer that it trusts.

    With a recording, all that the trio-websocket clients do and see goes into it.
    """

    issuer: Issuer
    relay: RelayProcess
    recording: Recording | None = None

    def connect(
        self,
        user: str,
        codec: Codec = MSGPACK,
        *,
        device: str = "default",
        token: str | None = None,
    ) -> AbstractAsyncContextManager[clients.Peer]:
        """A trio-websocket client, connected on entering."""
        token = token or self.issuer.token(user, device)
        watch = None if self.recording is None else self.recording.line
        return clients.connected(self.relay.address, token, user, codec, watch)

    def connect_recorded(self, user: str) -> RecordedSocket:
        """A blocking client that goes into the recording, which there must be."""
        assert self.recording is not None
        return RecordedSocket(self.relay.address, self.issuer.token(user), self.recording)

    def connect_raw(
        self, user: str | None = None, codec: Codec = JSON, *, device: str = "default"
    ) -> raw.RawSocket:
        """A raw socket past the handshake, of a user of its own unless one is named."""
        token = self.issuer.token(user or fresh("raw"), device)
        return raw.upgraded(self.relay.address, token, codec)

    def request(self, token: str | None, **changes: Any) -> raw.Response:
        """The HTTP answer to a handshake; `changes` are those of `raw.request`."""
        sent = raw.request(raw.host_of(self.relay.address), token=token, **changes)
        with raw.RawSocket(self.relay.address) as socket:
            socket.send(sent)
            return socket.response()


StartRelay = Callable[..., Clients]
"""Starts a relay with the settings given by name: `limits__connections=2`."""
