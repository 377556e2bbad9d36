"""What each kind of fault is: how it is switched on, and off again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final, Protocol

from msgspec import UNSET

from bench.isolation.failpoints import Failpoints, NoRelayError, for_conversations
from bench.isolation.findings import FaultName
from bench.isolation.flood import Flood
from bench.isolation.plan import Flooded, LoadPlan
from bench.isolation.schedule import stuck_readers, victims_of
from bench.isolation.stuck import StuckReaders
from bench.open_loop.person import POISON, Person
from storage.fault_orders import LONGEST_DELAY_SECONDS, Action, ConversationName, Order, Place

LOOP_HELD_SHARE: Final = 0.1
"""Of the time, how much `slow-loop` may take from everybody; more, and no relay could keep up."""

STUCK_SHARE: Final = 0.2
"""Of the fault's time, how much a stuck actor takes for one turn; no more than an order may say."""

LARGE_BYTES: Final = 16_384
"""Of each message of those who flood a stuck actor: they fill its mailbox."""

IN_A_LABORATORY: Final[frozenset[FaultName]] = frozenset(
    {"crash-loop", "poison", "stuck-actor", "slow-sync", "slow-loop"}
)
"""These are ordered at failpoints. The others are only what clients do."""

SLOWER: Final[frozenset[FaultName]] = frozenset({"slow-sync", "slow-loop"})
"""These hold up everybody, and are judged by how long."""


class Fault(Protocol):
    """It is on from when `begin` returns until `end` is called, and never outside of the two."""

    async def prepare(self) -> None:
        """Whatever would disturb the measurement, were it done while that runs."""

    async def begin(self) -> None:
        """Switch it on."""

    async def end(self) -> None:
        """Switch it off."""

    async def close(self) -> Flooded | None:
        """Let go of everything; what the flooders did, where there were any."""


class Ordered:
    """A fault that the relay itself commits, at its failpoints."""

    def __init__(self, plan: LoadPlan, orders: Sequence[Order]) -> None:
        self._orders = orders
        self._failpoints = Failpoints(plan.admin)

    async def prepare(self) -> None:
        """There is nothing to prepare."""

    async def begin(self) -> None:
        """See `Fault`."""
        await asyncio.to_thread(self._failpoints.order, self._orders)

    async def end(self) -> None:
        """See `Fault`. A fault may have ended the relay, and itself with it."""
        with suppress(NoRelayError):
            await asyncio.to_thread(self._failpoints.clear)

    async def close(self) -> None:
        """There is nothing to let go of."""


class Together:
    """Several faults at once: switched on one after the other, and off in reverse."""

    def __init__(self, *faults: Fault) -> None:
        self._faults = faults

    async def prepare(self) -> None:
        """See `Fault`."""
        for fault in self._faults:
            await fault.prepare()

    async def begin(self) -> None:
        """See `Fault`."""
        for fault in self._faults:
            await fault.begin()

    async def end(self) -> None:
        """See `Fault`."""
        for fault in reversed(self._faults):
            await fault.end()

    async def close(self) -> Flooded | None:
        """See `Fault`."""
        flooded = [await fault.close() for fault in self._faults]
        return next((one for one in flooded if one is not None), None)


def fault_of(plan: LoadPlan, persons: Sequence[Person]) -> Fault:
    """The fault of this experiment; `persons` are two for each conversation."""
    experiment = plan.experiment
    match experiment.fault:
        case "flood":
            return Flood(plan, persons, experiment.size)
        case "stuck-reader":
            pairs = [(persons[side], persons[side ^ 1]) for side in stuck_readers(experiment)]
            return StuckReaders(pairs, plan.write_seconds)
        case "stuck-actor":
            stuck = Ordered(plan, orders_of(plan, _struck(plan, persons)))
            return Together(stuck, Flood(plan, persons, LARGE_BYTES))
        case _:
            return Ordered(plan, orders_of(plan, _struck(plan, persons)))


def _struck(plan: LoadPlan, persons: Sequence[Person]) -> list[ConversationName]:
    sides = (persons[2 * victim] for victim in victims_of(plan.experiment))
    return [ConversationName(side.conversation_id, (side.user, side.peer)) for side in sides]


def orders_of(plan: LoadPlan, victims: Sequence[ConversationName]) -> list[Order]:
    """What is ordered of the relay, for a fault that it commits itself."""
    return _ORDERS[plan.experiment.fault](plan, victims)


def _crash_loop(_plan: LoadPlan, victims: Sequence[ConversationName]) -> list[Order]:
    return for_conversations(Order(place=Place.NUMBER, action=Action.RAISE), victims)


def _poison(_plan: LoadPlan, victims: Sequence[ConversationName]) -> list[Order]:
    return for_conversations(Order(place=Place.NUMBER, action=Action.RAISE, keys=POISON), victims)


def _stuck_actor(plan: LoadPlan, victims: Sequence[ConversationName]) -> list[Order]:
    """Each turn takes a good part of the time, and nobody can say when it will be over."""
    began_s, ended_s = plan.experiment.phases["fault"]
    seconds = min(round((ended_s - began_s) * STUCK_SHARE, 3), LONGEST_DELAY_SECONDS)
    order = Order(place=Place.NUMBER, action=Action.DELAY, seconds=seconds)
    return for_conversations(order, victims)


def _slow_sync(plan: LoadPlan, _victims: Sequence[ConversationName]) -> list[Order]:
    seconds = plan.experiment.slower_ms / 1_000
    return [Order(place=Place.BEFORE_COMMIT, action=Action.DELAY, seconds=seconds)]


def _slow_loop(plan: LoadPlan, victims: Sequence[ConversationName]) -> list[Order]:
    """As seldom as keeps the loop free for most of the time, however many the victims send."""
    experiment, seconds = plan.experiment, plan.experiment.slower_ms / 1_000
    sends_per_s = plan.rate_per_s * len(victims) / experiment.conversations
    probability = min(1.0, LOOP_HELD_SHARE / (seconds * sends_per_s))
    order = Order(
        place=Place.PUBLISH,
        action=Action.DELAY,
        seconds=seconds,
        probability=probability,
        seed=experiment.seed if probability < 1.0 else UNSET,  # else there are no dice
    )
    return for_conversations(order, victims)


_ORDERS: Final[
    Mapping[FaultName, Callable[[LoadPlan, Sequence[ConversationName]], list[Order]]]
] = {
    "crash-loop": _crash_loop,
    "poison": _poison,
    "stuck-actor": _stuck_actor,
    "slow-sync": _slow_sync,
    "slow-loop": _slow_loop,
}
