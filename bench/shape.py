"""What a load on a relay is to be, and what a relay that is started for it has to be told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple

from actors.limits import Limits
from bench.isolation.failpoints import FailpointError, Failpoints
from bench.plan import CodecName, Plan, ShapeName
from bench.relay_of_its_own import LIFTED, OwnRelay, relay_of_its_own, tokens_of
from bench.run import RunError
from storage.fault_orders import Action, Order, Place

PAIRS: Final[dict[ShapeName, int]] = {"pairs": 16, "hot": 4, "hub": 1_000, "zipf": 500}
"""How many there are if nobody says."""

HOT_LIFTED: Final = {"KSMP_LIMITS__CONNECTIONS_PER_USER": "20000"}
"""A hot conversation's two users have more devices than people do."""

ZIPF_LIFTED: Final = {"KSMP_LIMITS__NEW_CONVERSATIONS_PER_HOUR": "1000000"}


class Shape(NamedTuple):
    """Who sends what to whom, as fast as acks allow, and for how long.

    `kind` says what a pair is: two users with a conversation, two devices of a hot one, a hub's
    conversation with a peer, or two users with their share of `conversations`.
    """

    pairs: int
    in_flight: int
    size: int
    seconds: float
    warm_up_seconds: float
    kind: ShapeName = "pairs"
    codec: CodecName = "msgpack"
    sync_delay_ms: float = 0.0
    conversations: int = 0
    seed: int = 1

    @property
    def connections(self) -> int:
        """How many there are."""
        return self.pairs + 1 if self.kind == "hub" else 2 * self.pairs

    def plan(self, url: str, tokens: Sequence[str], *, history: str = "", relay: str = "") -> Plan:
        """For the generator."""
        return Plan(
            url,
            tuple(tokens),
            self.in_flight,
            self.size,
            self.seconds,
            self.warm_up_seconds,
            history=history,
            relay=relay,
            shape=self.kind,
            codec=self.codec,
            conversations=self.conversations,
            seed=self.seed,
        )


class LoadedRelay(NamedTuple):
    """A relay of its own that waits for a load, and the tokens of who connects, in order."""

    relay: OwnRelay
    tokens: Sequence[str]


@contextmanager
def relay_for(shape: Shape) -> Iterator[LoadedRelay]:
    """A relay for this load on an empty store, until the block ends.

    Raises:
        StartError: it does not start.
        RunError: the load is not one that it takes, or it cannot be made to sync late.
    """
    _require_room(shape, Limits())
    users = _users(shape)
    lifted, flags = lifted_for(shape), ("--lab",) if shape.sync_delay_ms else ()
    with relay_of_its_own(users, lifted, flags=flags) as relay:
        if shape.sync_delay_ms:
            _sync_late(relay, shape.sync_delay_ms / 1_000)
        tokens = _tokens_of_devices(relay, users, shape) if shape.kind == "hot" else relay.tokens
        yield LoadedRelay(relay, tokens)


def lifted_for(shape: Shape) -> dict[str, str]:
    """All settings of limits that are lifted."""
    return LIFTED | {"hot": HOT_LIFTED, "zipf": ZIPF_LIFTED}.get(shape.kind, {})


def read_at_once(shape: Shape, limits: Limits) -> int:
    """How many unacked sends of one connection the relay reads; the rest waits in the socket."""
    return min(shape.in_flight, limits.unacked_sends, max(1, limits.unacked_bytes // shape.size))


def _require_room(shape: Shape, limits: Limits) -> None:
    """What would be refused again and again would measure refusals.

    Raises:
        RunError: a message is too large, or a conversation's mailbox too small for its senders.
    """
    if shape.size > limits.max_ciphertext_bytes:
        raise RunError(f"a message holds at most {limits.max_ciphertext_bytes:,} bytes")
    senders = 2 * shape.pairs if shape.kind == "hot" else 2
    waiting = senders * read_at_once(shape, limits)
    if waiting > limits.mailbox_length or waiting * shape.size > limits.mailbox_bytes:
        raise RunError(
            f"a conversation's mailbox has room for {limits.mailbox_length:,} sends and"
            f" {limits.mailbox_bytes:,} bytes, and {waiting:,} of {shape.size:,} would be waiting"
        )


def _users(shape: Shape) -> list[str]:
    people = 2 if shape.kind == "hot" else shape.connections
    return [f"bench-{number}" for number in range(people)]


def _tokens_of_devices(relay: OwnRelay, users: Sequence[str], shape: Shape) -> list[str]:
    return [
        token
        for device in range(shape.pairs)
        for token in tokens_of(relay.data, users, f"device-{device}")
    ]


def _sync_late(relay: OwnRelay, seconds: float) -> None:
    """From now on every transaction waits so long before it is committed."""
    order = Order(place=Place.BEFORE_COMMIT, action=Action.DELAY, seconds=seconds)
    try:
        Failpoints(relay.admin).order([order])
    except FailpointError as error:
        raise RunError(f"the relay cannot be made to sync late: {error}") from None
