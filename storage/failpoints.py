"""Named places where an operator of a laboratory can order a fault, and what happens at them then.

Whoever owns a place holds a `Failpoint`, or None in a relay that is no laboratory, and asks it on
the way past:

    if self._failpoint is not None and self._failpoint.hit(...):
        ...                                    drop what is in hand, as this place drops

`hit` is for places that cannot wait: there a delay stops the thread it is called on. `reach` is for
tasks: there a delay is theirs alone. Everything else is the same: the oldest order that strikes is
obeyed, and the younger ones do not see what it struck.

No lock is needed. The orders of a place are a tuple that the event loop replaces in one assignment
and a passer-by reads once. What an order has counted is written by those who pass its place alone,
who are all on one thread: the storage thread for the two places of a commit, else the event loop.
Whoever reads the numbers meanwhile finds one that was true a moment ago.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NoReturn

import trio
from msgspec import UNSET

from ksmp.types import ConversationKey
from storage.fault_orders import Action, ConversationName, Letter, Order, Place

About = Callable[[], Iterable[Letter]]
"""The letters in hand. Called only where an order chooses by them."""


class OrderedFaultError(Exception):
    """Raised because an operator of a laboratory has ordered it."""


def nobody() -> Sequence[Letter]:
    """No letter is in hand, or none that is known."""
    return ()


@dataclass(frozen=True, slots=True)
class World:
    """What failpoints need of the world: how to wait, end, roll dice and tell."""

    sleep: Callable[[float], None]
    """Stops the calling thread for so many seconds."""

    exit: Callable[[int], NoReturn]
    """Ends the process at once, as a kill would."""

    chance: Callable[[int | None], Callable[[], float]]
    """Numbers in [0, 1), from this seed, or from none."""

    hash_of: Callable[[ConversationKey], str]
    """A conversation as the log shows it. For any thread."""

    first_hit: Callable[[Standing, ConversationKey | None], None]
    """Told of each order's first hit, and whom it chose; on whatever thread that happens."""


class Standing:
    """An order in force, and what it has come to."""

    def __init__(self, number: int, order: Order, world: World) -> None:
        self.number = number
        self.order = order
        self.hits = 0
        self.passed = 0
        """So many it could have hit and let go: by `skip`, or by chance."""

        self._world = world
        self._to_skip = order.skip
        self._chance = world.chance(None if order.seed is UNSET else order.seed)
        self._chosen = _Chosen(order, world.hash_of)

    def strikes(self, about: About) -> bool:
        """Whether it hits what passes now. Counts it."""
        order = self.order
        if order.times is not UNSET and self.hits >= order.times:
            return False
        chosen: ConversationKey | None = None
        if order.chooses_letters:
            chosen = self._chosen.first_of(about())
            if chosen is None:
                return False
        if self._to_skip:
            self._to_skip -= 1
        elif order.probability == 1.0 or self._chance() < order.probability:
            self.hits += 1
            if self.hits == 1:
                self._world.first_hit(self, chosen)
            return True
        self.passed += 1
        return False


class _Chosen:
    """Whose letters an order is for."""

    def __init__(self, order: Order, hash_of: Callable[[ConversationKey], str]) -> None:
        named = () if order.conversations is UNSET else order.conversations
        self._is_any = order.conversations is UNSET
        self._keys = frozenset(one.key for one in named if isinstance(one, ConversationName))
        self._hashes = frozenset(one for one in named if isinstance(one, str))
        self._hash_of = hash_of
        self._prefix = "" if order.keys is UNSET else order.keys

    def first_of(self, letters: Iterable[Letter]) -> ConversationKey | None:
        """The conversation of the first letter that it is for."""
        for conversation, key in letters:
            if self._prefix and not (key is not None and key.startswith(self._prefix)):
                continue
            if self._is_any or conversation in self._keys:
                return conversation
            if self._hashes and self._hash_of(conversation) in self._hashes:
                return conversation
        return None


class Failpoint:
    """One place. Costs its passers-by next to nothing while nothing is ordered there."""

    __slots__ = ("_world", "hits", "orders", "place")

    def __init__(self, place: Place, world: World) -> None:
        self.place: Final = place
        self.orders: tuple[Standing, ...] = ()
        self.hits: Final = dict.fromkeys(Action, 0)
        """Of all orders there have been here."""

        self._world = world

    def hit(self, about: About = nobody) -> bool:
        """Do what is ordered; True: the caller drops what it has in hand. A delay blocks.

        Raises:
            OrderedFaultError: that is what is ordered.
        """
        order = self._struck(about) if self.orders else None
        if order is not None and order.seconds is not UNSET:
            self._world.sleep(order.seconds)
        return order is not None and self._obey(order)

    async def reach(self, about: About = nobody) -> bool:
        """The same for a task: a delay is the task's, and can be cancelled.

        It is a checkpoint only where it delays.

        Raises:
            OrderedFaultError: that is what is ordered.
        """
        order = self._struck(about) if self.orders else None
        if order is not None and order.seconds is not UNSET:
            await trio.sleep(order.seconds)
        return order is not None and self._obey(order)

    def _struck(self, about: About) -> Order | None:
        for standing in self.orders:
            if standing.strikes(about):
                self.hits[standing.order.action] += 1
                return standing.order
        return None

    def _obey(self, order: Order) -> bool:
        if order.action is Action.RAISE:
            raise OrderedFaultError(self.place)
        if order.action is Action.EXIT:
            self._world.exit(order.code)
        return order.action is Action.DROP


class Failpoints:
    """All places, and the orders in force at them. Changed on the event loop alone."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._last_number = 0
        self.at: Final[Mapping[Place, Failpoint]] = {
            place: Failpoint(place, world) for place in Place
        }

    @property
    def orders(self) -> Sequence[Standing]:
        """All that are in force, the oldest first."""
        standing = (one for failpoint in self.at.values() for one in failpoint.orders)
        return sorted(standing, key=lambda one: one.number)

    def order(self, order: Order) -> Standing:
        """Put `order` in force, behind the others of its place."""
        self._last_number += 1
        standing = Standing(self._last_number, order, self._world)
        failpoint = self.at[order.place]
        failpoint.orders = (*failpoint.orders, standing)
        return standing

    def clear(self, number: int) -> bool:
        """Take one order back; False where there is none of that number."""
        for failpoint in self.at.values():
            left = tuple(one for one in failpoint.orders if one.number != number)
            if len(left) < len(failpoint.orders):
                failpoint.orders = left
                return True
        return False


def failpoint(failpoints: Failpoints | None, place: Place) -> Failpoint | None:
    """Who to ask at `place`; None in a relay that is no laboratory."""
    return None if failpoints is None else failpoints.at[place]
