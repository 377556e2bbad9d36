"""What an operator has ordered of a relay that is a laboratory, and what the log says about it.

At most `MOST_ORDERS` are in force at once. Those of the file are replaced together when it is read
again; those that came otherwise stay until they are cleared, or the process ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple, NoReturn, Protocol

from actors.telemetry import Hashed, Telemetry, hashed_conversation
from ksmp.types import ConversationKey
from relay.lab.accepting import Meet, past
from relay.lab.orders import MOST_ORDERS
from relay.lab.wire import FaultyOpening
from relay.settings import Settings
from relay.transport.opening import OpenTransport
from storage.failpoints import Failpoints, Standing, World
from storage.fault_orders import Action, Order, Place

ON_THE_STORAGE_THREAD: Final = frozenset({Place.BEFORE_COMMIT, Place.AFTER_COMMIT})


class TooManyOrdersError(Exception):
    """There is no room for one more."""


class Hits(NamedTuple):
    """How often an action was done at a place, by orders that stand and by those that are gone."""

    place: Place
    action: Action
    hits: int


class Powers(Protocol):
    """What faults are made of; `relay.system` has it."""

    def block(self, seconds: float, /) -> None:
        """Stop the calling thread."""

    def die(self, code: int, /) -> NoReturn:
        """End the process on the spot."""

    def chance(self, seed: int | None, /) -> Callable[[], float]:
        """Numbers in [0, 1)."""

    def on_loop(self) -> Callable[[Callable[[], None]], None]:
        """Has a call made on this event loop, from any thread."""


class Laboratory:
    """Owns the failpoints and which orders came from the file. For the event loop alone."""

    def __init__(
        self,
        orders: Sequence[Order],
        telemetry: Telemetry,
        digest: Callable[[Hashed], str],
        powers: Powers,
    ) -> None:
        self._telemetry = telemetry
        self._on_loop = powers.on_loop()
        self.failpoints = Failpoints(
            World(
                powers.block,
                powers.die,
                powers.chance,
                lambda conversation: digest(hashed_conversation(conversation)),
                self._note_first_hit,
            )
        )
        self._from_file: frozenset[int] = frozenset()
        telemetry.warning("relay.lab", orders=len(orders))
        self.adopt(orders)

    @property
    def orders(self) -> Sequence[Standing]:
        """All that are in force, the oldest first."""
        return self.failpoints.orders

    @property
    def hits(self) -> Iterator[Hits]:
        """For every place and action."""
        for place, failpoint in self.failpoints.at.items():
            for action, hits in failpoint.hits.items():
                yield Hits(place, action, hits)

    def order(self, order: Order) -> int:
        """Put `order` in force; its number.

        Raises:
            TooManyOrdersError: it is one too many.
        """
        if len(self.orders) >= MOST_ORDERS:
            raise TooManyOrdersError
        standing = self.failpoints.order(order)
        named = order.conversations or ()
        self._telemetry.warning(
            "failpoint.ordered",
            order=standing.number,
            kind=order.place,
            action=order.action,
            conversations=len(named),
        )
        return standing.number

    def clear(self, number: int) -> bool:
        """Take one order back; False where there is none of that number."""
        is_cleared = self.failpoints.clear(number)
        if is_cleared:
            self._telemetry.info("failpoint.cleared", order=number)
        return is_cleared

    def clear_all(self) -> int:
        """Take all orders back; how many there were."""
        return sum(self.clear(standing.number) for standing in self.orders)

    def adopt(self, orders: Sequence[Order]) -> None:
        """Put the orders of a file in the place of those that the last one held.

        Where others have left too little room, those of the file come first and the last ones that
        came otherwise are cleared.
        """
        for number in self._from_file:
            self.clear(number)
        for standing in self.orders[MOST_ORDERS - len(orders) :]:
            self.clear(standing.number)
        self._from_file = frozenset(self.order(order) for order in orders)

    def _note_first_hit(self, standing: Standing, conversation: ConversationKey | None) -> None:
        def note() -> None:
            self._telemetry.warning(
                "failpoint.hit",
                order=standing.number,
                kind=standing.order.place,
                action=standing.order.action,
                conversation=None if conversation is None else hashed_conversation(conversation),
            )

        if standing.order.place in ON_THE_STORAGE_THREAD:
            self._on_loop(note)
        else:
            note()


# ── wiring it in: without a laboratory, nothing is put in between ─────────────────────────────


def open_laboratory(
    settings: Settings,
    telemetry: Telemetry,
    digest: Callable[[Hashed], str],
    powers: Powers,
) -> Laboratory | None:
    """What `settings` want: a laboratory with the orders of its file, or None."""
    if not settings.config.lab.enabled:
        return None
    return Laboratory(settings.orders, telemetry, digest, powers)


def met(lab: Laboratory | None, meet: Meet) -> Meet:
    """`meet`, behind the place where connections are accepted."""
    return meet if lab is None else past(lab.failpoints.at[Place.ACCEPT], meet)


def wired(lab: Laboratory | None, opening: OpenTransport) -> OpenTransport:
    """`opening`, with the places where messages are taken in and written out."""
    if lab is None:
        return opening
    at = lab.failpoints.at
    return FaultyOpening(opening, at[Place.DECODE], at[Place.SEND])
