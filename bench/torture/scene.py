"""What a fault finds: a relay under load, and dice. It strikes; the round does the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

from bench.strace import Injection, StraceError, in_front, injected, place_hit
from bench.torture.crowd import TorturedCrowd
from bench.torture.errors import BrokenError, NotPossibleError
from bench.torture.processes import in_words
from bench.torture.relay import TorturedRelay

NOT_REACHED: Final = "places not come to"
"""A fault that walks through places counts those that nothing came to, by this name."""

NOT_TOLD: Final = "a call that strace does not tell of"


@dataclass(slots=True)
class Scene:
    """One round's, from when everybody has connected."""

    relay: TorturedRelay
    crowd: TorturedCrowd
    chance: Random
    number: int
    """Of the round: a fault that walks through a list of places goes on where the last one ended.
    """

    directory: Path
    """For what the fault writes down."""

    most_strikes: int | None = None
    """How often to strike; None: as often as the fault does by itself."""

    tally: Counter[str] = field(default_factory=Counter)
    """What was done, and how often: `kills` …"""

    notes: list[str] = field(default_factory=list)
    """For the line that tells of the round."""

    @property
    def is_hurried(self) -> bool:
        """Whether to strike no more, and no longer, than need be."""
        return self.most_strikes is not None

    def times(self, usual: int) -> int:
        """How often to strike."""
        return usual if self.most_strikes is None else self.most_strikes

    @property
    def trace(self) -> Path:
        """Where strace writes what it has done."""
        return self.directory / "trace"

    async def kill(self) -> None:
        """`kill -9`; it is gone."""
        self.relay.kill()
        self.tally["kills"] += 1

    async def kill_and_start(self) -> None:
        """`kill -9`, and a start on what that has left."""
        await self.kill()
        await self.relay.start()

    async def ends(self, *exit_codes: int) -> None:
        """The relay ends by itself, and with one of these.

        Raises:
            BrokenError: it does not.
        """
        code = await self.relay.ended()
        if code not in exit_codes:
            raise BrokenError(f"it ended {in_words(code)}: {self.relay.last_words}")

    def require(self, is_so: bool, words: str) -> None:
        """What must hold, or else what was seen.

        Raises:
            BrokenError: it does not.
        """
        if not is_so:
            raise BrokenError(words)

    @contextmanager
    def injected(self, injection: Injection) -> Iterator[None]:
        """Done to the running relay until the block ends.

        Raises:
            NotPossibleError: strace cannot.
        """
        self.trace.unlink(missing_ok=True)
        try:
            with injected(self.relay.pid, injection, self.trace):
                yield
        except StraceError as error:
            raise NotPossibleError(str(error)) from None

    def in_front(self, injection: Injection) -> list[str]:
        """The same for a relay that is going to be started."""
        self.trace.unlink(missing_ok=True)
        return in_front(injection, self.trace)

    def note_hit(self, injection: Injection, otherwise: str = NOT_TOLD) -> None:
        """Count the call that was hit, by its name and its file."""
        self.tally[place_hit(self.trace, injection) or otherwise] += 1
