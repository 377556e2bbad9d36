"""What a fault is: a strike, what the relay is set to meanwhile, and what it needs to be had."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.relay_of_its_own import DATA, PROGRAM
from bench.torture.crowd import USUAL_LOAD, Load
from bench.torture.scene import Scene

Strike = Callable[[Scene], Awaitable[None]]


def nothing_lacks() -> str | None:
    """It can be had everywhere."""
    return None


@contextmanager
def in_its_directory(directory: Path) -> Iterator[Path]:
    """The relay's data are on the same file system as the evidence."""
    yield directory / DATA


def as_shipped(_directory: Path) -> Sequence[str]:
    """The relay as its users run it."""
    return PROGRAM


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One kind. The docstring of its strike says what it does and what must hold."""

    name: str
    strike: Strike
    settings: Mapping[str, str] = field(default_factory=dict)
    """Of the relay, as environment variables."""

    load: Load = USUAL_LOAD
    lacks: Callable[[], str | None] = nothing_lacks
    """The tool or the permission that is missing here."""

    place: Callable[[Path], AbstractContextManager[Path]] = in_its_directory
    """Where the relay's data are: given the round's directory, the data directory."""

    program: Callable[[Path], Sequence[str]] = as_shipped
    """What runs, given the round's directory."""

    refused: frozenset[str] = frozenset()
    """The codes of errors that sends may be answered meanwhile."""

    may_complain: bool = False
    """Whether what is done to the relay may show as a bug in its log."""

    takes_stock: bool = True
    """Whether it may begin on a store with very many records."""

    limit_seconds: float = 240.0
    """A round that takes longer is broken."""

    @property
    def says(self) -> str:
        """What it does, and what must hold."""
        return (self.strike.__doc__ or "").strip()
