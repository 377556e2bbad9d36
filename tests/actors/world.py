"""A small world for actors: a router over a log in memory, and who waits for the answers."""

from __future__ import annotations

from collections.abc import Sequence

import trio

from actors.inboxes import Inboxes
from actors.letters import Letter, ReadLetter, SendLetter
from actors.limits import Limits
from actors.router import Router
from actors.supervisor import Backoff, ChildSpec, Intensity, supervise
from actors.telemetry import Field
from ksmp.events import AckRead, Envelope, SendAck, ServerEvent
from ksmp.types import (
    ConversationId,
    ConversationKey,
    IdempotencyKey,
    MessageId,
    ServerSeq,
    TimeMs,
    UserId,
    conversation_key,
)
from tests.actors.memory_log import MemoryLog

ALICE = UserId("alice")
BOB = UserId("bob")
TALK = ConversationId("talk")
KEY = conversation_key(TALK, ALICE, BOB)
"""The conversation that letters are for unless they say otherwise."""

WALL_MS = 1_700_000_000_000


class SilentTelemetry:
    """Says nothing, and remembers what it was told, unless that is too much."""

    def __init__(self, *, is_debug: bool = True) -> None:
        self.is_debug = is_debug
        self.events: list[tuple[str, dict[str, Field]]] = []

    def debug(self, event: str, **fields: Field) -> None:
        if self.is_debug:
            self.events.append((event, fields))

    info = warning = error = debug

    def count(self, event: str) -> int:
        return sum(1 for name, _ in self.events if name == event)


def wall_clock() -> TimeMs:
    return TimeMs(WALL_MS + round(trio.current_time() * 1_000))


class World:
    """A supervised router over a log in memory, with what the tests look at."""

    def __init__(
        self,
        limits: Limits = Limits(),
        intensity: Intensity = Intensity(),
        *,
        log: MemoryLog | None = None,
        is_debug: bool = True,
    ) -> None:
        self.log = log or MemoryLog()
        self.telemetry = SilentTelemetry(is_debug=is_debug)
        self.inboxes = Inboxes(self.log, limits)
        self.log.after_commit = self.inboxes.deliver
        self.router = Router(
            self.log,
            self.inboxes,
            limits,
            wall_clock=wall_clock,
            jitter=lambda: 0.5,
            telemetry=self.telemetry,
            intensity=intensity,
            backoff=Backoff(),
        )

    async def start(self, nursery: trio.Nursery) -> None:
        nursery.start_soon(self.log.run)
        await self.start_router(nursery)

    async def start_router(self, nursery: trio.Nursery) -> None:
        router = ChildSpec("router", self.router.run, "permanent")
        nursery.start_soon(supervise, router, self.telemetry, lambda: 0.5)
        await self.router.started.wait()

    def route(self, *letters: Letter) -> None:
        """Put each letter into its conversation's mailbox, where it must be taken."""
        for letter in letters:
            assert self.router.route(letter.conversation, letter) is None


async def all_answered(letters: list[Letter]) -> None:
    """Wait, on the mock clock, until every letter is answered."""
    with trio.fail_after(1_000):
        while any(letter.is_open for letter in letters):  # noqa: ASYNC110
            await trio.sleep(0.01)


async def until_one_has_failed(world: World) -> None:
    """Wait, step by step, for the first failure of an actor."""
    for _ in range(1_000):
        if world.telemetry.count("actor.failed"):
            return
        await trio.lowlevel.checkpoint()
    raise AssertionError("nothing has failed")


class Client:
    """Whoever waits for answers: keeps what came for each letter."""

    def __init__(self) -> None:
        self.answers: list[tuple[Letter, ServerEvent]] = []

    def settle(self, letter: Letter, answer: ServerEvent) -> None:
        self.answers.append((letter, answer))

    def deliver(self) -> None:
        """Everything has arrived already."""

    def fail(self, bug: BaseException) -> None:
        raise bug

    def to(self, letter: Letter) -> list[ServerEvent]:
        return [answer for asked, answer in self.answers if asked is letter]


class Sender(Client):
    """A client that tells the router of every answer, as a connection does."""

    def __init__(self, router: Router) -> None:
        super().__init__()
        self.router = router

    def settle(self, letter: Letter, answer: ServerEvent) -> None:
        super().settle(letter, answer)
        self.router.release(letter)


def numbers(client: Client, letters: Sequence[Letter]) -> list[int]:
    """The number each send got; it must have been acknowledged, once."""
    acks = [client.to(letter) for letter in letters]
    return [ack.server_seq for (ack,) in acks if isinstance(ack, SendAck)]


def envelope(
    key: str = "key-1",
    *,
    sender: UserId = ALICE,
    recipient: UserId = BOB,
    text: bytes = b"sealed",
    conversation: str = "talk",
) -> Envelope:
    return Envelope(
        "ksmpv3",
        ConversationId(conversation),
        MessageId(f"message-{key}"),
        sender,
        recipient,
        text,
        "text",
        TimeMs(1),
        IdempotencyKey(key),
    )


def send_letter(
    client: Client, key: str = "key-1", *, text: bytes = b"sealed", conversation: str = "talk"
) -> SendLetter:
    sealed = envelope(key, text=text, conversation=conversation)
    return SendLetter(sealed, client, 100 + len(text))


def key_of(conversation: str) -> ConversationKey:
    return conversation_key(ConversationId(conversation), ALICE, BOB)


def read_letter(client: Client, server_seq: int) -> ReadLetter:
    ack = AckRead(TALK, BOB, ServerSeq(server_seq))
    return ReadLetter(ack, ALICE, client, 60)
