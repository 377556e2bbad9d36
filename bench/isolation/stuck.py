"""Readers who stop reading: each is cut off in the end, comes back, and gets stuck again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import monotonic_ns
from typing import Final

from bench.open_loop.person import Person

FILLERS: Final = 16
FILLER_BYTES: Final = 65_536
"""Together more than the systems of both sides keep for a reader with a small window. The rest is
in the relay, which may not keep it for long."""


class StuckReaders:
    """Pairs of who gets stuck, and who goes on writing to them."""

    def __init__(self, pairs: Sequence[tuple[Person, Person]], write_seconds: float) -> None:
        self._pairs = pairs
        self._write_seconds = write_seconds
        self._tasks: list[asyncio.Task[None]] = []

    async def prepare(self) -> None:
        """There is nothing to prepare."""

    async def begin(self) -> None:
        """All of them stop reading at once."""
        self._tasks = [
            asyncio.create_task(self._get_stuck_on_and_on(reader, writer))
            for reader, writer in self._pairs
        ]
        await asyncio.sleep(0)

    async def end(self) -> None:
        """All of them read again."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for reader, _ in self._pairs:
            reader.read_again()

    async def close(self) -> None:
        """There is nothing to let go of."""

    async def _get_stuck_on_and_on(self, reader: Person, writer: Person) -> None:
        while True:
            reader.stop_reading()
            for _ in range(FILLERS):
                writer.send(monotonic_ns(), bulk="filler")
                await asyncio.sleep(self._write_seconds / 2 / FILLERS)
            await asyncio.sleep(self._write_seconds * 1.5)
            reader.read_again()
            # It takes what lies in the system's buffers, finds its line cut off, and comes back.
            await asyncio.sleep(self._write_seconds / 2)
            await reader.ready.wait()
