"""A flood: the victims' users send as fast as sockets take, from further devices.

The flooders are a process of their own, at the lowest priority, so that what they cost is not
taken from who measures. They end with their standard input, whatever happens to this process.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from itertools import cycle
from typing import Final

import msgspec

from bench.isolation.flooder import BEGIN, END, Flooder, FloodPlan
from bench.isolation.plan import Flooded, LoadPlan
from bench.isolation.schedule import victims_of
from bench.open_loop.person import Person
from bench.process import LoadError
from bench.run import PACKAGES

MODULE: Final = "bench.isolation.flooder"
ANSWER_SECONDS: Final = 60.0


class Flood:
    """See the head of this file."""

    def __init__(self, plan: LoadPlan, persons: Sequence[Person], size: int) -> None:
        victims = victims_of(plan.experiment)
        flooded = [persons[2 * victim + side] for victim in victims for side in (0, 1)]
        self._plan = FloodPlan(
            plan.url,
            size,
            tuple(
                Flooder(token, person.user, person.peer, person.conversation_id)
                for token, person in zip(plan.flooding_tokens, cycle(flooded), strict=False)
            ),
        )
        self._process: Process | None = None
        self._flooded: Flooded | None = None

    async def prepare(self) -> None:
        """Start the flooders, and have them connected.

        Raises:
            LoadError: they are not.
        """
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", MODULE, cwd=PACKAGES, stdin=PIPE, stdout=PIPE
        )
        self._say(msgspec.json.encode(self._plan) + b"\n")
        await self._hear()

    async def begin(self) -> None:
        """See `faults.Fault`."""
        self._say(BEGIN)
        await self._hear()

    async def end(self) -> None:
        """See `faults.Fault`."""
        self._say(END)
        self._flooded = msgspec.json.decode(await self._hear(), type=Flooded)

    async def close(self) -> Flooded | None:
        """See `faults.Fault`."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        return self._flooded

    def _say(self, line: bytes) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(line)

    async def _hear(self) -> bytes:
        assert self._process is not None
        assert self._process.stdout is not None
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), ANSWER_SECONDS)
        except TimeoutError:
            raise LoadError("the flooders do not answer") from None
        if not line:
            raise LoadError("the flooders have ended")
        return line
