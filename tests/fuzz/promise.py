"""What every fuzz target is made of: promises that hold or do not, and choices out of raw bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final


class BrokenPromiseError(AssertionError):
    """What was promised for any input does not hold for this one."""


def promise(holds: bool, what: object) -> None:
    """Raise `BrokenPromiseError` unless it holds."""
    if not holds:
        raise BrokenPromiseError(what)


REACHED: Final[Counter[str]] = Counter()
"""How often this process has seen which outcome: what is not here has not been tried."""


def reached(outcome: str) -> None:
    """Count an outcome, so that a corpus which no longer leads there is found out."""
    REACHED[outcome] += 1


class Choices:
    """Raw bytes read as decisions, front to back; when they are used up, every choice is 0.

    So any input is valid, and changing a byte changes one decision.
    """

    def __init__(self, source: bytes) -> None:
        self._source = source
        self._position = 0

    @property
    def are_left(self) -> bool:
        """Whether there is a byte that nobody has looked at."""
        return self._position < len(self._source)

    def byte(self) -> int:
        """A number from 0 to 255."""
        return next(iter(self.take(1)), 0)

    def below(self, limit: int) -> int:
        """A number from 0 to `limit` - 1; `limit` is at most 256."""
        return self.byte() % limit

    def flag(self) -> bool:
        """Yes or no."""
        return bool(self.byte() & 1)

    def take(self, amount: int) -> bytes:
        """The next bytes, `amount` of them or as many as there are."""
        start, self._position = self._position, self._position + amount
        return self._source[start : self._position]

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(len(self._source))

    def cuts(self) -> Cuts:
        """A way to cut a stream, out of three bytes."""
        return Cuts((self.byte(), self.byte(), self.byte()))


class Cuts:
    """Pieces of these sizes in turns; 0 stands for all that is left."""

    def __init__(self, sizes: tuple[int, ...]) -> None:
        self._sizes = sizes

    def of(self, stream: bytes) -> Iterator[bytes]:
        """The pieces of `stream`, in order; none of them is empty."""
        position, turn = 0, 0
        while position < len(stream):
            size = self._sizes[turn % len(self._sizes)] or len(stream)
            yield stream[position : position + size]
            position, turn = position + size, turn + 1


def other_cuts(stream: bytes) -> tuple[Cuts, ...]:
    """In one piece; and, as far as that is cheap, byte by byte."""
    return Cuts((0,)), Cuts((1,) if len(stream) <= SHORT_BYTES else (5, 61))


SHORT_BYTES: Final = 40
