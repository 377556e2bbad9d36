"""Who talks to whom in a load, and who sends next when something is acked.

    pairs   each two credentials are a pair with one conversation; both sides send
    hot     all credentials are devices of two users, who have one conversation; every device sends
    hub     the first user has a conversation with each of the others; both sides of each send
    zipf    pairs, with many conversations for each; who sends next, and where, is drawn by the seed

In all but the last each connection has a window of its own. In the last all of them share one, so
that a conversation which is drawn often has many sends in flight, and most have none.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Sequence
from itertools import accumulate, cycle
from random import Random
from typing import Final, NamedTuple, Protocol

from bench.plan import Plan, ShapeName
from bench.process import LoadError
from bench.user import Talk, User
from ksmp.types import ConversationId

MakeUser = Callable[[str, str], User]
"""From a token, and a name that no other connection has."""

ZIPF_EXPONENT: Final = 1.0
"""The conversation of rank k is drawn with a weight of 1 / k to this power."""

MOST_UNACKED: Final = 256
"""What the relay lets one connection have in flight by default; a hub's window is no larger."""


class Cast(NamedTuple):
    """Every connection, and the windows that are filled when all are connected."""

    users: Sequence[User]
    windows: Sequence[Window]


class Window(Protocol):
    """So many sends that are unacked at any time, while the meter says that we are sending."""

    def fill(self) -> None:
        """Begin."""


def cast_of(plan: Plan, run_id: str, make: MakeUser) -> Cast:
    """The connections of a plan. Names of conversations begin with `run_id`.

    Raises:
        LoadError: the credentials do not fit the shape.
    """
    return _CASTS[plan.shape](plan, f"bench.{run_id}", make)


# ── shapes ───────────────────────────────────────────────────────────────────────────────────


def _pairs(plan: Plan, prefix: str, make: MakeUser) -> Cast:
    users, windows = [], []
    for number, (one, other) in enumerate(_pairs_of_users(plan, prefix, make)):
        for user, peer in ((one, other), (other, one)):
            talk = Talk(ConversationId(f"{prefix}.{number}"), peer.user)
            users.append(user)
            windows.append(_OwnWindow(user, [talk], plan.in_flight))
    return Cast(users, windows)


def _hot(plan: Plan, prefix: str, make: MakeUser) -> Cast:
    users, windows = [], []
    conversation = ConversationId(prefix)
    for one, other in _pairs_of_users(plan, prefix, make):
        for user, peer in ((one, other), (other, one)):
            users.append(user)
            windows.append(_OwnWindow(user, [Talk(conversation, peer.user)], plan.in_flight))
    if len({user.user for user in users}) != 2:
        raise LoadError("a hot conversation needs tokens of two users in turns")
    return Cast(users, windows)


def _hub(plan: Plan, prefix: str, make: MakeUser) -> Cast:
    hub, *peers = [
        make(token, f"{prefix}.{number}") for number, token in enumerate(plan.credentials)
    ]
    if any(peer.user == hub.user for peer in peers):
        raise LoadError("a peer of the hub is the hub itself")
    ids = [ConversationId(f"{prefix}.{number}") for number in range(len(peers))]
    windows = [
        _OwnWindow(peer, [Talk(conversation, hub.user)], plan.in_flight)
        for conversation, peer in zip(ids, peers, strict=True)
    ]
    talks = [Talk(conversation, peer.user) for conversation, peer in zip(ids, peers, strict=True)]
    size = min(MOST_UNACKED, plan.in_flight * len(peers))
    return Cast([hub, *peers], [_OwnWindow(hub, talks, size), *windows])


def _zipf(plan: Plan, prefix: str, make: MakeUser) -> Cast:
    pairs = list(_pairs_of_users(plan, prefix, make))
    sides: list[_Sides] = []
    for number in range(plan.conversations):
        one, other = pairs[number % len(pairs)]
        conversation = ConversationId(f"{prefix}.{number}")
        sides.append(((one, Talk(conversation, other.user)), (other, Talk(conversation, one.user))))
    users = [user for pair in pairs for user in pair]
    return Cast(users, [_DrawnWindow(users, sides, plan.in_flight * len(users), plan.seed)])


def _pairs_of_users(plan: Plan, prefix: str, make: MakeUser) -> Sequence[tuple[User, User]]:
    """Each two credentials.

    Raises:
        LoadError: two that belong together are of one user.
    """
    pairs = []
    both = zip(plan.credentials[::2], plan.credentials[1::2], strict=True)
    for number, (one_token, other_token) in enumerate(both):
        one, other = (
            make(one_token, f"{prefix}.{number}.a"),
            make(other_token, f"{prefix}.{number}.b"),
        )
        if one.user == other.user:
            raise LoadError("the two tokens of a pair are of the same user")
        pairs.append((one, other))
    return pairs


_CASTS: Final[dict[ShapeName, Callable[[Plan, str, MakeUser], Cast]]] = {
    "pairs": _pairs,
    "hot": _hot,
    "hub": _hub,
    "zipf": _zipf,
}


# ── windows ──────────────────────────────────────────────────────────────────────────────────


class _OwnWindow:
    """One connection's, which sends in its conversations by turns."""

    def __init__(self, user: User, talks: Sequence[Talk], size: int) -> None:
        self._user = user
        self._size = size
        self._talks = cycle(talks)
        user.next_turn = self._send

    def fill(self) -> None:
        """See `Window`."""
        for _ in range(self._size):
            self._send()
        self._user.flush()

    def _send(self) -> None:
        self._user.say(next(self._talks))


_Sides = tuple[tuple[User, Talk], tuple[User, Talk]]
"""A conversation: who can send in it."""


class _DrawnWindow:
    """One for all connections: at an ack of any of them, a conversation and a side are drawn."""

    def __init__(
        self, users: Sequence[User], conversations: Sequence[_Sides], size: int, seed: int
    ) -> None:
        self._conversations = conversations
        self._size = size
        self._random = Random(seed)
        self._draw = zipf(len(conversations), self._random)
        for user in users:
            user.next_turn = self._send

    def fill(self) -> None:
        """See `Window`."""
        for _ in range(self._size):
            self._send()

    def _send(self) -> None:
        user, talk = self._conversations[self._draw()][self._random.getrandbits(1)]
        user.say(talk)
        user.flush_soon()


def zipf(ranks: int, random: Random) -> Callable[[], int]:
    """Draws 0, 1, 2 … below `ranks`, each rarer than the one before, by Zipf's law."""
    weights = list(accumulate((rank + 1) ** -ZIPF_EXPONENT for rank in range(ranks)))
    total, last = weights[-1], ranks - 1

    def draw() -> int:
        return min(bisect(weights, random.random() * total), last)

    return draw
