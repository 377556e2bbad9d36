"""Connections in the small world: each with a client at the other end of a fake transport."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

import trio
from trio.testing import wait_all_tasks_blocked

from actors.alarms import Alarms
from actors.connection import Connection
from actors.limits import Limits
from actors.supervisor import Intensity
from actors.surroundings import Surroundings
from ksmp.codec import MSGPACK, Codec
from ksmp.events import About, ClientEvent, Error, InboxFrame, Ping, Pong, Resume, Send, ServerEvent
from ksmp.types import ConnectionId, DeviceId, GlobalInboxSeq, Nonce, TimeMs, UserId
from tests.actors.fake_transport import FakeTransport
from tests.actors.world import ALICE, BOB, World, envelope, wall_clock
from tests.recording_telemetry import RecordingTelemetry

STRANGER = UserId("stranger")
"""Whom no token allows anyone to write to."""

FROM_THE_START = Resume(GlobalInboxSeq(0))

Event = TypeVar("Event", bound=ServerEvent)


@dataclass(frozen=True)
class Identity:
    """Implements `actors.connection.Identity`."""

    user: UserId
    device: DeviceId
    expires_at_ms: TimeMs

    def may_write_to(self, recipient: UserId) -> bool:
        return recipient != STRANGER


@dataclass
class Peer:
    """One client: what it says arrives, what it was told it has heard."""

    connection: Connection
    transport: FakeTransport
    codec: Codec
    has_ended: trio.Event = field(default_factory=trio.Event)

    async def say(self, *events: ClientEvent) -> None:
        """Say everything in one read, and let the relay do all it can do about it."""
        self.transport.arrive(*map(self.codec.encode, events))
        await wait_all_tasks_blocked()

    @property
    def heard(self) -> list[ServerEvent]:
        return self.transport.events()

    def heard_of(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.heard if isinstance(event, kind)]

    @property
    def frames(self) -> list[int]:
        return [frame.global_inbox_seq for frame in self.heard_of(InboxFrame)]

    @property
    def errors(self) -> list[str]:
        return [error.code for error in self.heard_of(Error)]

    async def is_served(self) -> bool:
        """Whether the relay still answers it."""
        before = len(self.heard_of(Pong))
        await self.say(Ping(Nonce("there")))
        return len(self.heard_of(Pong)) == before + 1


class ConnectedWorld(World):
    """A world with connections; its telemetry refuses fields that are not declared."""

    def __init__(self, limits: Limits = Limits(), intensity: Intensity = Intensity()) -> None:
        super().__init__(limits, intensity)
        self.lines = RecordingTelemetry()
        self.alarms = Alarms()
        self.tokens: dict[str, Identity] = {}
        self.surroundings = Surroundings(
            self.log,
            self.router,
            self.inboxes,
            self.alarms,
            limits,
            self.lines,
            wall_clock,
            lambda: 0.5,
            self.tokens.get,
        )

    async def start(self, nursery: trio.Nursery) -> None:
        await super().start(nursery)
        nursery.start_soon(self.alarms.run)

    async def connect(
        self,
        nursery: trio.Nursery,
        user: UserId = ALICE,
        device: str = "phone",
        *,
        expires_in_seconds: float = 1_000_000.0,
        codec: Codec = MSGPACK,
        transport: FakeTransport | None = None,
    ) -> Peer:
        expires_at = TimeMs(wall_clock() + int(expires_in_seconds * 1_000))
        identity = Identity(user, DeviceId(device), expires_at)
        served = transport or FakeTransport()
        peer: Peer = await nursery.start(self._serve, identity, codec, served)
        await wait_all_tasks_blocked()
        return peer

    async def _serve(  # noqa: ASYNC114
        self,
        identity: Identity,
        codec: Codec,
        transport: FakeTransport,
        task_status: trio.TaskStatus[Peer],
    ) -> None:
        inbox = await self.inboxes.enter(identity.user)
        try:
            name = ConnectionId(f"connection-of-{identity.user}")
            connection = Connection(name, identity, codec, transport, inbox, self.surroundings)
            peer = Peer(connection, transport, codec)
            task_status.started(peer)
            await connection.run()
            peer.has_ended.set()
        finally:
            self.inboxes.leave(inbox)


def sends(amount: int, *, first: int = 0, text: bytes = b"sealed") -> list[ClientEvent]:
    """Sends of Alice's to Bob."""
    return [Send(envelope(f"key-{n}", text=text)) for n in range(first, first + amount)]


def sends_of_bob(amount: int, *, text: bytes = b"sealed") -> list[ClientEvent]:
    sealed = (envelope(f"bob-{n}", sender=BOB, recipient=ALICE, text=text) for n in range(amount))
    return [Send(one) for one in sealed]


def about(sealed: Send) -> About:
    """What a refusal of this send names."""
    one = sealed.envelope
    return About(
        "ksmpv3.send",
        one.conversation_id,
        one.recipient_user_id,
        one.message_id,
        one.idempotency_key,
    )
