"""Two clients that share nothing with the relay: on trio-websocket, and on websockets' threads.

Both take events in and give events out; every wait has a deadline. `Peer` is the one most tests
use. `SyncPeer` shows that the same conversation works for another library.
"""

from __future__ import annotations

import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from time import monotonic_ns
from typing import Final, NamedTuple, Protocol

import trio
import trio_websocket
import websockets.sync.client
from websockets.typing import Subprotocol

from tests.wire import messages
from tests.wire.codecs import JSON, MSGPACK, Codec, Event, RawFrame
from tests.wire.raw import ENDED

ANSWER_SECONDS: Final = 10.0
"""How long anything may take that should take no time at all."""


class Frame(NamedTuple):
    """One event with the message it came in."""

    raw: RawFrame
    event: Event


class Witness(Protocol):
    """Told what one connection sends, before it does, and what it has received."""

    def told(self, event: Event) -> None:
        """This event is about to be sent."""

    def received(self, *frames: Frame) -> None:
        """These have come, in this order."""

    def closed(self, code: int | None) -> None:
        """The connection is over; `None`: the relay has sent no close frame."""


Watch = Callable[[Event, str, int], Witness]
"""Makes the witness of a connection, from the first event, the subprotocol, and the monotonic
time at which opening it began."""


class Peer:
    """A connected client. Events come out in the order in which they arrived.

    `until` looks ahead and keeps what it passes over for later.
    """

    def __init__(
        self, websocket: trio_websocket.WebSocketConnection, user: str, codec: Codec
    ) -> None:
        self.user = user
        self.codec = codec
        self.connected: Event = {}
        self.witness: Witness | None = None
        self._websocket = websocket
        self._kept: deque[Frame] = deque()

    @property
    def closed_with(self) -> int | None:
        """The code of the relay's close frame, if one has come."""
        reason = self._websocket.closed
        return None if reason is None or reason.code == ENDED else int(reason.code)

    async def tell(self, *events: Event) -> None:
        """Send events without waiting for answers."""
        for event in events:
            if self.witness is not None:
                self.witness.told(event)
            await self.tell_raw(self.codec.encode(event))

    async def tell_raw(self, frame: RawFrame) -> None:
        """Send one message as it is, whether or not it is one; no witness is told."""
        with trio.fail_after(ANSWER_SECONDS):
            await self._websocket.send_message(frame)

    async def receive_frame(self) -> Frame:
        """The next event, with its bytes."""
        return self._kept.popleft() if self._kept else await self._receive_new()

    async def receive(self) -> Event:
        """The next event."""
        return (await self.receive_frame()).event

    async def receive_many(self, count: int) -> list[Event]:
        """The next `count` events."""
        return [await self.receive() for _ in range(count)]

    async def until(self, wanted: Callable[[Event], bool]) -> Frame:
        """The first event that is wanted; those before it stay to be received."""
        for frame in self._kept:
            if wanted(frame.event):
                self._kept.remove(frame)
                return frame
        with trio.fail_after(ANSWER_SECONDS):
            while not wanted((frame := await self._receive_new()).event):
                self._kept.append(frame)
        return frame

    async def next_of(self, kind: str) -> Event:
        """The first event of type `ksmpv3.<kind>`; those before it stay."""
        return (await self.until(lambda event: event["type"] == f"ksmpv3.{kind}")).event

    async def frames(self, count: int) -> list[Frame]:
        """The next `count` inbox frames; what else arrives stays."""
        return [
            await self.until(lambda event: event["type"] == "ksmpv3.inbox.frame")
            for _ in range(count)
        ]

    async def answer_to(self, envelope: Event) -> Frame:
        """Offer an envelope; its ack, or the error about it."""
        await self.tell(messages.send(envelope))
        return await self.answer_about(envelope)

    async def answer_about(self, envelope: Event) -> Frame:
        """The ack of an envelope offered before, or the error about it."""
        place = ("conversationId", "recipientUserId", "idempotencyKey")

        def answers(event: Event) -> bool:
            kind = event["type"]
            source = event if kind == "ksmpv3.send.ack" else event.get("about", {})
            return kind in ("ksmpv3.send.ack", "ksmpv3.error") and all(
                source.get(name) == envelope[name] for name in place
            )

        return await self.until(answers)

    async def send(self, envelope: Event) -> Event:
        """Offer an envelope, which must be acked; the ack."""
        ack = (await self.answer_to(envelope)).event
        assert ack["type"] == "ksmpv3.send.ack", ack
        return ack

    async def resume(self, cursor: int | None = 0, **fields: object) -> list[Frame]:
        """Resume; everything before `resume.complete`, and that as the last."""
        await self.tell(messages.resume(cursor, **fields))
        received = [await self.receive_frame()]
        while received[-1].event["type"] != "ksmpv3.resume.complete":
            received.append(await self.receive_frame())
        return received

    async def error(self) -> Event:
        """The next event, which must be an error."""
        event = await self.receive()
        assert event["type"] == "ksmpv3.error", event
        return event

    async def before_pong(self) -> list[Event]:
        """All that arrives before the answer to a ping sent now."""
        nonce = messages.fresh("barrier")
        await self.tell(messages.ping(nonce))
        received: list[Event] = []
        while (event := await self.receive()).get("nonce") != nonce:
            received.append(event)
        return received

    async def close_code(self) -> int:
        """The code the relay closes with; what arrives before that stays to be received."""
        try:
            with trio.fail_after(ANSWER_SECONDS):
                while True:
                    self._kept.append(await self._receive_new())
        except trio_websocket.ConnectionClosed as closed:
            return ENDED if closed.reason is None else int(closed.reason.code)

    def kept(self) -> list[Event]:
        """What has arrived and has not been received."""
        return [frame.event for frame in self._kept]

    async def _receive_new(self) -> Frame:
        with trio.fail_after(ANSWER_SECONDS):
            raw = await self._websocket.get_message()
        frame = Frame(raw, self.codec.decode(raw))
        if self.witness is not None:
            self.witness.received(frame)
        return frame


@asynccontextmanager
async def connected(
    address: tuple[str, int],
    token: str,
    user: str,
    codec: Codec = MSGPACK,
    watch: Watch | None = None,
) -> AsyncIterator[Peer]:
    """A client that has received `ksmpv3.connected`, closed on leaving."""
    began_ns = monotonic_ns()
    async with connected_over(await trio.open_tcp_stream(*address), token, user, codec) as peer:
        if watch is None:
            yield peer
            return
        peer.witness = watch(peer.connected, codec.subprotocol, began_ns)
        try:
            yield peer
        finally:
            peer.witness.closed(peer.closed_with)


@asynccontextmanager
async def connected_over(
    stream: trio.abc.Stream, token: str, user: str, codec: Codec = MSGPACK
) -> AsyncIterator[Peer]:
    """The same on a stream that leads to the relay, such as one of TLS."""
    # The stream is ours, because the library leaves it open where the relay closes first.
    async with stream, trio.open_nursery() as nursery:
        with trio.fail_after(ANSWER_SECONDS):
            websocket = await trio_websocket.wrap_client_stream(
                nursery,
                stream,  # type: ignore[arg-type]  # its types are narrower than what it takes
                "relay.example",
                "/ksmp/v3",
                subprotocols=[codec.subprotocol],
                extra_headers=[(b"Authorization", b"Bearer " + token.encode())],
                message_queue_size=10_000,
            )
        peer = Peer(websocket, user, codec)
        peer.connected = await peer.receive()
        assert peer.connected["type"] == "ksmpv3.connected"
        yield peer
        with trio.fail_after(ANSWER_SECONDS):
            await websocket.aclose()


class SyncPeer:
    """A client on websockets' blocking connection."""

    def __init__(self, websocket: websockets.sync.client.ClientConnection, codec: Codec) -> None:
        self.codec = codec
        self._websocket = websocket

    def tell(self, event: Event) -> None:
        """Send an event."""
        self._websocket.send(self.codec.encode(event))

    def receive(self) -> Event:
        """The next event."""
        return self.codec.decode(self._websocket.recv(ANSWER_SECONDS))

    def next_of(self, kind: str) -> Event:
        """The next event of type `ksmpv3.<kind>`; those before it are dropped."""
        while (event := self.receive())["type"] != f"ksmpv3.{kind}":
            pass
        return event


@contextmanager
def connected_in_thread(
    url: str, token: str, codec: Codec = JSON, tls: ssl.SSLContext | None = None
) -> Iterator[SyncPeer]:
    """A blocking client that offers compression, as browsers do, and must not be given it."""
    with websockets.sync.client.connect(
        url,
        subprotocols=[Subprotocol(codec.subprotocol)],
        additional_headers={"Authorization": f"Bearer {token}"},
        compression="deflate",
        ssl=tls,
        open_timeout=ANSWER_SECONDS,
        close_timeout=ANSWER_SECONDS,
        proxy=None,
    ) as websocket:
        assert not websocket.protocol.extensions
        assert websocket.subprotocol == codec.subprotocol
        yield SyncPeer(websocket, codec)
