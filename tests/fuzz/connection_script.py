"""The steps of one play, out of raw bytes: what clients say, and what befalls the relay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from msgspec import UNSET

from actors.limits import Limits
from ksmp.codec import JSON, MSGPACK, Codec
from ksmp.events import AckRead, Auth, ClientEvent, Envelope, Ping, Resume, Send
from ksmp.types import (
    MAX_INTEGER,
    ConversationId,
    DeviceId,
    Epoch,
    GlobalInboxSeq,
    IdempotencyKey,
    MessageId,
    Nonce,
    ServerSeq,
    TimeMs,
    UserId,
)
from tests.actors.peers import STRANGER
from tests.actors.world import ALICE, BOB
from tests.fuzz.promise import Choices

DEVICES: Final = (
    (ALICE, DeviceId("phone")),
    (BOB, DeviceId("phone")),
    (ALICE, DeviceId("tablet")),
)
USERS: Final = (ALICE, BOB)
RECIPIENTS: Final = (BOB, ALICE, BOB, ALICE, STRANGER)
TOKENS: Final = ("of alice", "of bob", "of alice's tablet", "of nobody")
MOST_STEPS: Final = 60
MOST_EVENTS: Final = 8

LIMITS: Final = (
    Limits(max_ciphertext_bytes=64),
    Limits(
        max_ciphertext_bytes=64,
        unacked_sends=2,
        outbound_bytes=1_000,
        sends_per_second=2,
        sends_burst=3,
        mailbox_length=2,
        live_conversations=1,
        recent_records_bytes=0,
    ),
    Limits(
        max_ciphertext_bytes=64,
        unacked_bytes=300,
        outbound_bytes=1,
        mailbox_bytes=400,
        sends_under_way_bytes=600,
        recent_records_bytes=700,
    ),
)


@dataclass(frozen=True)
class Setting:
    """What holds for the whole play."""

    limits: Limits
    codec: Codec
    stride: int


class Say(NamedTuple):
    """A device says all of these in one read; bytes are said as they are."""

    device: int
    events: tuple[ClientEvent | bytes, ...]


class Connect(NamedTuple):
    """A device connects, in the place of its older connection."""

    device: int
    expires_in_seconds: float


class Leave(NamedTuple):
    """A device is gone."""

    device: int


class Stall(NamedTuple):
    """A device stops reading, or goes on."""

    device: int
    is_stalled: bool


class Pass(NamedTuple):
    """Time passes."""

    seconds: float


Fate = Literal["held", "full", "failing", "unreadable"]


class Befall(NamedTuple):
    """What commits, or reads, come to from now on."""

    fate: Fate
    is_so: bool


class Truncate(NamedTuple):
    """Retention removes the front of an inbox."""

    user: UserId
    percent: int


class Drain(NamedTuple):
    """The relay wants a device's connection to come to an end."""

    device: int


Step = Say | Connect | Leave | Stall | Pass | Befall | Truncate | Drain


def read_setting(choices: Choices) -> Setting:
    """The first byte."""
    bits = choices.byte()
    return Setting(
        LIMITS[bits % len(LIMITS)], JSON if bits & 64 else MSGPACK, stride=7 if bits & 128 else 1
    )


def read_steps(choices: Choices) -> list[Step]:
    """All the others."""
    steps: list[Step] = []
    while choices.are_left and len(steps) < MOST_STEPS:
        steps.append(_step(choices))
    return steps


def _step(choices: Choices) -> Step:
    kind, device = choices.below(16), choices.below(len(DEVICES))
    match kind:
        case 0:
            return Connect(device, (1_000_000.0, 45.0, -20.0)[choices.below(3)])
        case 1:
            return Leave(device)
        case 2:
            return Stall(device, choices.flag())
        case 3:
            return Pass((0.0, 0.2, 1.0, 5.0, 11.0, 29.0, 31.0, 61.0)[choices.below(8)])
        case 4:
            fates: tuple[Fate, ...] = ("held", "full", "failing", "unreadable")
            return Befall(fates[choices.below(4)], choices.flag())
        case 5:
            return Truncate(USERS[choices.below(2)], choices.below(101))
        case 6:
            return Drain(device)
        case _:
            amount = 1 + choices.below(MOST_EVENTS) if kind > 12 else 1
            return Say(device, tuple(_event(device, choices) for _ in range(amount)))


def _event(device: int, choices: Choices) -> ClientEvent | bytes:
    kind = choices.below(12)
    match kind:
        case 0 | 1:
            return Resume(*_cursor(choices))
        case 2:
            return Ping(UNSET if (number := choices.below(4)) == 0 else Nonce(str(number)))
        case 3:
            return Auth(TOKENS[choices.below(len(TOKENS))])
        case 4 | 5:
            peer = RECIPIENTS[choices.below(len(RECIPIENTS))]
            private = (UNSET, True, False)[choices.below(3)]
            return AckRead(_talk(choices), peer, ServerSeq(choices.below(8)), private)
        case 6:
            return choices.take(choices.below(32))
        case _:
            return Send(_envelope(device, choices))


def _cursor(choices: Choices) -> tuple[GlobalInboxSeq | None, Epoch]:
    """A cursor and, maybe, an epoch that is the relay's or another."""
    place, epoch = choices.byte(), choices.below(6)
    cursor = None if place == 255 else MAX_INTEGER if place == 254 else place % 64
    named = UNSET if epoch < 4 else Epoch(f"epoch-{epoch - 3}")
    return (None if cursor is None else GlobalInboxSeq(cursor)), named  # type: ignore[return-value]


def _envelope(device: int, choices: Choices) -> Envelope:
    key, variant = choices.below(8), choices.below(8)
    sender = STRANGER if variant == 7 else DEVICES[device][0]
    text = bytes(choices.below(70)) if variant == 6 else b"sealed" if variant < 5 else b"other"
    return Envelope(
        "ksmpv3",
        _talk(choices),
        MessageId(f"message-{key}"),
        sender,
        RECIPIENTS[choices.below(len(RECIPIENTS))],
        text or b"\0",
        "text",
        TimeMs(key),
        IdempotencyKey(f"key-{key}"),
    )


def _talk(choices: Choices) -> ConversationId:
    return ConversationId(("talk", "other")[choices.below(2)])
