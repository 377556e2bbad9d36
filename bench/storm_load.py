"""The reconnect storm: all clients drop at once, miss messages, and come back with their cursors.

Run as a process of its own (`python -m bench.storm_load`, a `bench.storm_plan.StormPlan` on
standard input). It always ends by itself: every step has a limit.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from time import perf_counter, process_time
from typing import Final

from bench.each import for_each, in_time
from bench.final_read import FinalRead
from bench.history import Recorder
from bench.idle_plan import Opened
from bench.idlers import OPENING_AT_ONCE, OPENING_SECONDS
from bench.plan import Progress, Started, Stopped
from bench.process import LoadError, asked, run_load, say, unless_failed
from bench.storm_plan import Returned, StormPlan, decode_plan
from bench.visitor import Visitor
from ksmp.types import ConversationId

IN_FLIGHT: Final = 32
"""Sends of each sender that wait for their acks."""

WRITING_SECONDS: Final = 300.0
RETURN_SECONDS: Final = 300.0
AGAIN_SECONDS: Final = 0.5
"""The most that somebody waits who was refused, with full jitter."""

READING_AT_ONCE: Final = 8
POLL_SECONDS: Final = 0.02


def main() -> None:
    """Run the plan on standard input."""
    run_load(_run, decode_plan(asked()))


async def _run(plan: StormPlan) -> None:
    with Recorder(Path(plan.history), relay=plan.relay, seed=plan.seed) as recorder:
        storm = _Storm(plan, recorder)
        returned = await unless_failed(storm.run(), storm.failure)
    say(returned)


class _Storm:
    """Visitor n is written to by sender n, counted around."""

    def __init__(self, plan: StormPlan, recorder: Recorder) -> None:
        self.failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._plan = plan
        self._recorder = recorder
        self._chance = random.Random(plan.seed)
        self._ciphertext = os.urandom(plan.size)
        self._senders = [Visitor(recorder, token, self._fail) for token in plan.senders]
        self._visitors = [Visitor(recorder, token, self._fail) for token in plan.tokens]
        self._missing: Counter[Visitor] = Counter()
        self._incomplete: set[Visitor] = set()
        self._repeated = 0
        for visitor in self._visitors:
            visitor.on_frame = self._taker(visitor)

    async def run(self) -> Returned:
        """Everything, in its order."""
        everybody = self._senders + self._visitors
        began = perf_counter()
        await self._for_all(everybody, self._come, "connecting", OPENING_SECONDS)
        say(Opened(round(len(everybody) / (perf_counter() - began), 1)))
        await self._write("before")
        await self._until_complete()
        for visitor in self._visitors:
            visitor.drop()
        await self._write("meanwhile")
        returned = await self._return()
        for visitor in everybody:
            visitor.drop()
        await self._for_all(everybody, self._read, "reading everything back", WRITING_SECONDS)
        return returned

    async def _return(self) -> Returned:
        """The storm itself."""
        say(Started())
        began, cpu = perf_counter(), process_time()

        async def come_back(visitor: Visitor) -> None:
            await asyncio.sleep(self._chance.uniform(0, self._plan.spread_seconds))
            await self._insist(visitor)

        coming = [come_back(visitor) for visitor in self._visitors]
        try:
            async with asyncio.timeout(RETURN_SECONDS):
                await asyncio.gather(*coming)
        except TimeoutError:
            raise LoadError(f"not all were back within {RETURN_SECONDS:.0f} seconds") from None
        await self._until_complete()
        seconds = perf_counter() - began
        say(Stopped())
        share = (process_time() - cpu) / seconds
        missing = sum(self._missing.values())
        return Returned(round(seconds, 3), self._repeated, missing, round(share, 3))

    async def _insist(self, visitor: Visitor) -> None:
        """Come, again and again: a relay that has too many at once says so."""
        while True:
            try:
                await visitor.come(self._plan.url)
            except LoadError:
                visitor.drop()
                self._repeated += 1
                await asyncio.sleep(self._chance.uniform(0, AGAIN_SECONDS))
            else:
                return

    async def _come(self, visitor: Visitor) -> None:
        await visitor.come(self._plan.url)

    async def _read(self, visitor: Visitor) -> None:
        await FinalRead(self._recorder, visitor.token, visitor.base).run(self._plan.url)

    async def _for_all(
        self,
        visitors: Sequence[Visitor],
        do: Callable[[Visitor], Awaitable[None]],
        step: str,
        seconds: float,
    ) -> None:
        def tell(done: int) -> None:
            if done % 100 == 0:
                say(Progress(step, done, len(visitors)))

        at_once = OPENING_AT_ONCE if step == "connecting" else READING_AT_ONCE
        async with in_time(step, seconds):
            await for_each(visitors, do, at_once, tell)

    # ── messages ─────────────────────────────────────────────────────────────────────────────

    async def _write(self, when: str) -> None:
        """Every visitor is sent so many messages more; returns when all are acked."""
        for visitor in self._visitors:
            self._missing[visitor] += self._plan.messages
        self._incomplete.update(self._visitors)
        try:
            async with asyncio.timeout(WRITING_SECONDS):
                await asyncio.gather(
                    *(self._write_all(number, when) for number in range(len(self._senders)))
                )
        except TimeoutError:
            raise LoadError(f"not stored within {WRITING_SECONDS:.0f} seconds") from None

    async def _write_all(self, number: int, when: str) -> None:
        sender, slots = self._senders[number], asyncio.Semaphore(IN_FLIGHT)
        sender.on_ack = lambda _message_id: slots.release()
        for receiver in range(number, len(self._visitors), len(self._senders)):
            peer = self._visitors[receiver].user
            for message in range(self._plan.messages):
                await slots.acquire()
                conversation_id = ConversationId(f"storm.{receiver}")
                message_id = f"{when}.{receiver}.{message}"
                sender.send(conversation_id, peer, message_id, self._ciphertext)
                sender.flush()
        for _ in range(IN_FLIGHT):  # all are back: everything is acked
            await slots.acquire()

    def _taker(self, visitor: Visitor) -> Callable[[str], None]:
        def take(_message_id: str) -> None:
            self._missing[visitor] -= 1
            if not self._missing[visitor]:
                self._incomplete.discard(visitor)

        return take

    async def _until_complete(self) -> None:
        """Until everybody has everything that is for them, for so long at most."""
        for _ in range(int(RETURN_SECONDS / POLL_SECONDS)):
            if not self._incomplete:
                return
            await asyncio.sleep(POLL_SECONDS)

    def _fail(self, reason: str) -> None:
        if not self.failure.done():
            self.failure.set_exception(LoadError(reason))


if __name__ == "__main__":
    main()
