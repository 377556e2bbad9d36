"""Round after round, every fault in turn, until the time is over."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Sequence
from itertools import count
from pathlib import Path
from random import Random
from typing import Final, NamedTuple

from bench.torture.fault import Fault
from bench.torture.round import Played, play

STOCKED_EVERY: Final = 4
"""So many rounds of a fault, one begins on a store with very many records."""


class Campaign(NamedTuple):
    """What is to be done. The same seed gives each round the same dice, whenever it is played."""

    faults: Sequence[Fault]
    seed: int
    directory: Path
    """Where rounds have theirs; that of a round that ends well is removed."""

    stock: Path | None = None
    """A data directory with very many records."""

    strikes: int | None = None
    keep: bool = False

    async def rounds(self, seconds: float) -> AsyncIterator[Played]:
        """One after the other; none is begun when the time is over."""
        deadline = time.monotonic() + seconds
        order = Random(self.seed)
        for lap in count():
            for fault in order.sample(list(self.faults), len(self.faults)):
                yield await self.round(fault, lap)
                if time.monotonic() >= deadline:
                    return

    async def each(self, number: int) -> AsyncIterator[Played]:
        """Of every fault the round of that number."""
        for fault in self.faults:
            yield await self.round(fault, number)

    def directory_of(self, fault: str, number: int) -> Path:
        """Where a round is played, and where its evidence is if something was broken."""
        return self.directory / f"{fault}-{number}"

    async def round(self, fault: Fault, number: int) -> Played:
        """One; what it has left is removed, unless it shows what was broken."""
        directory = self.directory_of(fault.name, number)
        shutil.rmtree(directory, ignore_errors=True)
        stock = self.stock if self._is_stocked(fault, number) else None
        try:
            directory.mkdir(parents=True)
            played = await play(
                fault, self.seed, number, directory, stock=stock, strikes=self.strikes
            )
        except asyncio.CancelledError:
            shutil.rmtree(directory, ignore_errors=True)
            raise
        if played.failure is None and not self.keep:
            shutil.rmtree(directory, ignore_errors=True)
        return played

    def _is_stocked(self, fault: Fault, number: int) -> bool:
        first = sum(fault.name.encode())  # not all of them in the same lap
        return fault.takes_stock and (number + first) % STOCKED_EVERY == 0
