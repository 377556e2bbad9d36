"""A user of the workload: offers, reads, takes what comes, and requires nothing of the relay."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Final

import trio
import trio_websocket

from tests.wire.clients import Peer
from tests.wire.codecs import Event
from tests.wire.connecting import Clients
from tests.wire.messages import ack_read, envelope, resume, send

TALK: Final = "talk"


class Member:
    """One user and their conversation with a partner, over all their connections.

    `patience_seconds` is how long an answer is waited for; a broken relay may never give it.
    """

    def __init__(self, user: str, partner: str, patience_seconds: float) -> None:
        self.user = user
        self.partner = partner
        self.acked: list[Event] = []
        self.unanswered: list[Event] = []
        """Envelopes of which it is not known what has become."""
        self._patience_seconds = patience_seconds
        self._cursor = 0
        self._waiting: dict[str, Event] = {}
        self._reads_waiting = 0
        self._seen: set[str] = set()
        self._peer: Peer | None = None
        self._news = trio.Event()

    def envelope(self) -> Event:
        """A new one, to the partner."""
        return envelope(self.user, self.partner, conversationId=TALK)

    @asynccontextmanager
    async def connected(self, own: Clients) -> AsyncIterator[None]:
        """Connect, resume, and take what comes."""
        async with own.connect(self.user) as peer, trio.open_nursery() as nursery:
            self._peer = peer
            await peer.tell(resume(self._cursor))
            nursery.start_soon(self._listen, peer)
            yield
            nursery.cancel_scope.cancel()

    async def offer(self, *envelopes: Event) -> None:
        """Send without waiting for the answers."""
        self._waiting |= {one["idempotencyKey"]: one for one in envelopes}
        await self._tell(*map(send, envelopes))

    async def offer_new(self, count: int = 1) -> None:
        """Send new envelopes without waiting for the answers."""
        await self.offer(*(self.envelope() for _ in range(count)))

    async def read(self, *numbers: int, private: bool = False) -> None:
        """Say how far one has read, one after the other, and wait for the answers."""
        fields = {"private": True} if private else {}
        for number in numbers:
            self._reads_waiting = 1
            await self._tell(ack_read(TALK, self.partner, number, **fields))
            await self._until(lambda: self._reads_waiting <= 0)

    async def answered(self) -> None:
        """Wait for every answer; what has none in any reasonable time has none."""
        await self._until(lambda: not self._waiting)
        self.give_up()

    def give_up(self) -> None:
        """What is not answered by now has no answer."""
        self.unanswered += self._waiting.values()
        self._waiting = {}

    async def sees(self, key: str) -> None:
        """Wait for the frame of a record."""
        await self._until(lambda: key in self._seen)

    async def _tell(self, *events: Event) -> None:
        assert self._peer is not None
        with suppress(trio_websocket.ConnectionClosed):
            await self._peer.tell(*events)

    async def _until(self, is_so: Callable[[], bool]) -> None:
        with trio.move_on_after(self._patience_seconds):
            while not is_so():
                await self._news.wait()

    async def _listen(self, peer: Peer) -> None:
        with suppress(trio_websocket.ConnectionClosed):
            while True:
                with suppress(trio.TooSlowError):  # nothing is said for a while
                    self._take((await peer.receive_frame()).event)
                    self._news.set()
                    self._news = trio.Event()

    def _take(self, event: Event) -> None:
        about = event.get("about", {})
        match event["type"]:
            case "ksmpv3.send.ack":
                sent = self._waiting.pop(event["idempotencyKey"], None)
                if sent is not None:
                    self.acked.append(sent)
            case "ksmpv3.error":
                self._waiting.pop(about.get("idempotencyKey"), None)
                self._reads_waiting -= about.get("type") == "ksmpv3.ack.read"
            case "ksmpv3.read":
                self._reads_waiting -= event["readerUserId"] == self.user
            case "ksmpv3.inbox.frame":
                self._cursor = max(self._cursor, event["globalInboxSeq"])
                self._seen.add(event["envelope"]["idempotencyKey"])


async def all_answered(members: Iterable[Member]) -> None:
    """Wait for everybody's answers at once."""
    async with trio.open_nursery() as nursery:
        for member in members:
            nursery.start_soon(member.answered)
