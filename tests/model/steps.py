"""What may happen in an example, as plain values: drawn by hypothesis, played by `play`.

Steps name things by small numbers, so that every list of steps can be played and a failing one
shrinks to the few that matter; `Pause` is what a step that does not matter shrinks to.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from hypothesis import strategies as st

STEPS: Final = 50
USERS: Final = ("alice", "bob", "carol")
DEVICES: Final = tuple((user, name) for user in USERS for name in ("phone", "tablet"))
TALKS: Final = 2
KEYS: Final = 6
VARIANTS: Final = 3


class Send(NamedTuple):
    """One envelope. Keys and payloads are few: repeats and conflicts come by themselves."""

    device: int
    recipient: int
    talk: int
    key: int
    variant: int


class Mark(NamedTuple):
    """A read acknowledgement, `back` records behind the conversation's head (or ahead of it)."""

    device: int
    peer: int
    talk: int
    back: int
    private: bool


class Ping(NamedTuple):
    """A ping with a nonce."""

    device: int


class Join(NamedTuple):
    """A resume from the device's own cursor, while records are under way."""

    device: int


class Strike(NamedTuple):
    """The first asked conversation fails at these checkpoints, each counted from the last.

    Or, while it waits for the log, after these transactions and before it is told of them.
    """

    checkpoints: tuple[int, ...]
    in_commit: bool


class Cut(NamedTuple):
    """The process ends with the n-th transaction: not begun, or committed and nobody told."""

    transactions: int
    committed: bool


class HangUp(NamedTuple):
    """Everyone who asked is gone before the answers come."""


Fault = Strike | Cut | HangUp | None
Ask = Send | Mark | Ping | Join


class Burst(NamedTuple):
    """All of these at once; each device's in one read, in this order."""

    asks: tuple[Ask, ...]
    fault: Fault


class Connect(NamedTuple):
    """A new connection, in the place of the device's older one."""

    device: int
    is_json: bool


Place = Literal["own", "zero", "fraction", "now", "ahead", "other epoch", "own in this epoch"]


class Resume(NamedTuple):
    """A resume, on a connection that has resumed already or not."""

    device: int
    place: Place
    percent: int


class Disconnect(NamedTuple):
    """The device hangs up."""

    device: int


class Stall(NamedTuple):
    """The device stops reading (or goes on)."""

    device: int
    is_stalled: bool


class Pause(NamedTuple):
    """Time passes."""

    seconds: int


class Fill(NamedTuple):
    """The disk is full (or has room again)."""

    is_full: bool


class Restart(NamedTuple):
    """The process is drained and started again."""


Step = Burst | Connect | Resume | Disconnect | Stall | Pause | Fill | Restart


class Shape(NamedTuple):
    """Limits so small that ordinary traffic reaches them, and how slow the disk is."""

    recent_records_bytes: int
    outbound_bytes: int
    live_conversations: int
    disk_checkpoints: int


class Case(NamedTuple):
    """One example."""

    shape: Shape
    steps: tuple[Step, ...]


_device = st.integers(0, len(DEVICES) - 1)
_user = st.integers(0, len(USERS) - 1)
_talk = st.integers(0, TALKS - 1)
_variant = st.sampled_from([0, 0, 0, 0, 0, 1, 2])

_send = st.builds(Send, _device, _user, _talk, st.integers(0, KEYS - 1), _variant)
_mark = st.builds(Mark, _device, _user, _talk, st.integers(-2, 4), st.booleans())
_asks = st.lists(
    st.one_of(_send, _send, _send, _mark, st.builds(Ping, _device), st.builds(Join, _device)),
    max_size=8,
)

_strike = st.builds(
    Strike, st.lists(st.integers(1, 4), min_size=1, max_size=7).map(tuple), st.booleans()
)
_last_words: st.SearchStrategy[Step] = st.builds(  # dead before it hears of its only append
    Burst,
    st.tuples(_send),
    st.builds(Strike, st.sampled_from([(1,), (2,)]), st.just(True)),
)
_cut = st.builds(Cut, st.integers(1, 3), st.booleans())
_calm: st.SearchStrategy[Fault] = st.sampled_from([None, None, HangUp()])


def _bursts(faults: st.SearchStrategy[Fault]) -> st.SearchStrategy[Step]:
    return st.builds(Burst, _asks.map(tuple), faults)


def _weighted(*weights: tuple[int, st.SearchStrategy[Step]]) -> st.SearchStrategy[Step]:
    """Each as often as its weight says; `one_of` would take alternatives apart and forget that."""
    choices = [choice for weight, choice in weights for _ in range(weight)]
    return st.sampled_from(choices).flatmap(lambda choice: choice)


_places = st.sampled_from(
    [
        "own",
        "own",
        "zero",
        "fraction",
        "fraction",
        "now",
        "ahead",
        "other epoch",
        "own in this epoch",
    ]
)
_others: Final[tuple[tuple[int, st.SearchStrategy[Step]], ...]] = (
    (1, st.builds(Pause, st.sampled_from([0, 1, 40]))),
    (2, st.builds(Connect, _device, st.booleans())),
    (6, st.builds(Resume, _device, _places, st.integers(0, 100))),
    (2, st.builds(Disconnect, _device)),
    (3, st.builds(Stall, _device, st.booleans())),
    (1, st.builds(Fill, st.sampled_from([False, False, True]))),
)

_shapes = st.builds(
    Shape,
    st.sampled_from([1 << 20, 4_000, 0]),
    st.sampled_from([1 << 18, 3_000]),
    st.sampled_from([100, 2, 1]),
    st.integers(0, 2),
)


def calm_cases() -> st.SearchStrategy[Case]:
    """Examples in which nothing fails but connections."""
    step = _weighted(*_others, (15, _bursts(_calm)))
    return st.builds(Case, _shapes, st.lists(step, min_size=STEPS, max_size=STEPS).map(tuple))


def stormy_cases() -> st.SearchStrategy[Case]:
    """Examples in which an actor or the process fails at least once, as a rule more often."""
    step = _weighted(
        *_others,
        (11, _bursts(_calm)),
        (3, _bursts(_strike)),
        (2, _last_words),
        (2, _bursts(_cut)),
        (1, st.builds(Restart)),
    )
    steps = st.lists(step, min_size=STEPS, max_size=STEPS)
    asks = st.lists(_send, min_size=1, max_size=8).map(tuple)
    failure: st.SearchStrategy[Step] = st.builds(Burst, asks, st.one_of(_strike, _cut))
    return st.builds(
        Case, _shapes, st.builds(_with_one, steps, st.integers(STEPS // 2, STEPS - 1), failure)
    )


def _with_one(steps: list[Step], index: int, step: Step) -> tuple[Step, ...]:
    return (*steps[:index], step, *steps[index + 1 :])
