"""The load on a store that has grown: a few pairs of users, each with very many conversations.

Run as a process of its own (`python -m bench.growth_load`, a `bench.plan.Plan` on standard input).
A closed loop as in `bench.generator`, but each send goes to another of the pair's conversations.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bench.each import for_each
from bench.final_read import FinalRead
from bench.history import Recorder
from bench.meter import Meter
from bench.plan import Plan
from bench.process import LoadError, run_process
from bench.visitor import Visitor
from ksmp.types import ConversationId

READING_AT_ONCE: Final = 8


def main() -> None:
    """Run the plan on standard input."""
    run_process(GrowthLoad)


def conversation_name(number: int) -> ConversationId:
    """What a conversation of the grown store is called; it is of pair `number`, counted around."""
    return ConversationId(f"growth.{number}")


class GrowthLoad:
    """Both sides of each pair send; which conversation is next is drawn by the seed."""

    def __init__(self, plan: Plan) -> None:
        self.meter = Meter()
        self.failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._plan = plan
        self._chance = random.Random(plan.conversations)
        self._ciphertext = os.urandom(plan.size)
        self._recorder = Recorder(Path(plan.history), relay=plan.relay, seed=plan.conversations)
        self._visitors = [Visitor(self._recorder, token, self._fail) for token in plan.credentials]
        self._sent = 0
        for number, visitor in enumerate(self._visitors):
            visitor.on_ack = self._acker(number)
            visitor.on_frame = self._deliverer(number)

    async def connect(self, connected: Callable[[int], None]) -> None:
        """See `bench.process.Load`."""
        for count, visitor in enumerate(self._visitors, start=1):
            await visitor.come(self._plan.url)
            connected(count)

    def start(self) -> None:
        """See `bench.process.Load`."""
        for number, visitor in enumerate(self._visitors):
            for _ in range(self._plan.in_flight):
                self._send_next(number)
            visitor.flush()

    async def read_back(self) -> None:
        """See `bench.process.Load`."""
        self._drop()

        async def read(visitor: Visitor) -> None:
            await FinalRead(self._recorder, visitor.token, visitor.base).run(self._plan.url)

        await for_each(self._visitors, read, READING_AT_ONCE)
        self._recorder.close()

    def close(self) -> None:
        """See `bench.process.Load`."""
        self._drop()
        self._recorder.cut_off()

    def _drop(self) -> None:
        for visitor in self._visitors:
            visitor.drop()

    def _send_next(self, number: int) -> None:
        pairs = len(self._visitors) // 2
        pair = number // 2
        mine = range(pair, self._plan.conversations, pairs)
        conversation_id = conversation_name(self._chance.choice(mine))
        self._sent += 1
        message_id = f"{number}.{self._sent}"
        self.meter.note_sent(message_id)
        self._visitors[number].send(
            conversation_id,
            self._visitors[number ^ 1].user,
            message_id,
            self._ciphertext,
            is_new=False,
        )

    def _acker(self, number: int) -> Callable[[str], None]:
        def acked(message_id: str) -> None:
            self.meter.note_acked(message_id)
            if self.meter.is_sending:
                self._send_next(number)

        return acked

    def _deliverer(self, number: int) -> Callable[[str], None]:
        own = f"{number}."

        def delivered(message_id: str) -> None:
            if not message_id.startswith(own):  # the sender has it in the inbox, too
                self.meter.note_delivered(message_id)

        return delivered

    def _fail(self, reason: str) -> None:
        if not self.failure.done():
            self.failure.set_exception(LoadError(reason))


if __name__ == "__main__":
    main()
