"""Live traffic beside something else: pairs who write at a rate that does not wait for the relay.

Run as a process of its own (`python -m bench.live`, a `bench.replay_plan.LivePlan` on standard
input). Latencies count from the time for which a send was meant.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
from array import array
from pathlib import Path
from time import monotonic_ns, process_time
from typing import Final

from bench.final_read import FinalRead
from bench.history import Recorder
from bench.latency import Latencies
from bench.plan import Progress, Started
from bench.process import LoadError, asked, run_load, say, unless_failed
from bench.replay_plan import LiveMeasured, LivePlan, Span, decode_live_plan, decode_span
from bench.visitor import Visitor
from ksmp.types import ConversationId

AFTER_SECONDS: Final = 900.0
"""How long it waits, after its baseline, to be shown the span."""

SETTLE_SECONDS: Final = 20.0
POLL_SECONDS: Final = 0.05


def main() -> None:
    """Run the plan on standard input."""
    run_load(_run, decode_live_plan(asked()))


async def _run(plan: LivePlan) -> None:
    with Recorder(Path(plan.history), relay=plan.relay, seed=plan.seed) as recorder:
        traffic = _Traffic(plan, recorder)
        measured = await unless_failed(traffic.run(), traffic.failure)
    say(measured)


def _span_in(file: Path) -> Span | None:
    return decode_span(file.read_bytes()) if file.exists() else None


class _Traffic:
    """Two visitors for each pair; anyone's turn to send, by the seed."""

    def __init__(self, plan: LivePlan, recorder: Recorder) -> None:
        self.failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._plan = plan
        self._recorder = recorder
        self._chance = random.Random(plan.seed)
        self._visitors = [Visitor(recorder, token, self._fail) for token in plan.tokens]
        for visitor in self._visitors:
            visitor.on_ack = self._take_ack
        self._meant_ns: dict[str, int] = {}
        # Of what was acked: when it was meant, and how long after that it was.
        self._when_ns, self._took_ns = array("q"), array("q")

    async def run(self) -> LiveMeasured:
        """Come, send before and during the span, settle, read everything once more."""
        plan = self._plan
        for number, visitor in enumerate(self._visitors, start=1):
            await visitor.come(plan.url)
            say(Progress("connecting", number, len(self._visitors)))
        began_ns, cpu = monotonic_ns(), process_time()
        sending = asyncio.ensure_future(self._send(began_ns))
        try:
            await asyncio.sleep(plan.warm_up_seconds)
            baseline = await self._baseline()
            say(Started())
            span = await self._shown(Path(plan.until))
        finally:
            sending.cancel()
        share = (process_time() - cpu) / ((monotonic_ns() - began_ns) / 1e9)
        await self._settle()
        unanswered = len(self._meant_ns)
        await self._read_back()
        before, meanwhile = self._latencies(baseline), self._latencies(span)
        return LiveMeasured(
            before[0].percentiles(),
            meanwhile[0].percentiles(),
            before[1],
            meanwhile[1],
            unanswered,
            round(share, 3),
        )

    async def _baseline(self) -> Span:
        began_ns = monotonic_ns()
        await asyncio.sleep(self._plan.baseline_seconds)
        return Span(began_ns, monotonic_ns())

    async def _shown(self, until: Path) -> Span:
        for _ in range(int(AFTER_SECONDS / POLL_SECONDS)):
            if (span := _span_in(until)) is not None:
                return span
            await asyncio.sleep(POLL_SECONDS)
        raise LoadError("nobody said when the live traffic should end")

    async def _send(self, began_ns: int) -> None:
        """A Poisson process: the next send is due whether or not the last was answered."""
        at_ns, ciphertext = float(began_ns), os.urandom(self._plan.size)
        for number in itertools.count(1):
            at_ns += self._chance.expovariate(self._plan.rate_per_s) * 1e9
            sender = self._chance.randrange(len(self._visitors))
            await asyncio.sleep(max(0.0, (at_ns - monotonic_ns()) / 1e9))
            visitor, peer = self._visitors[sender], self._visitors[sender ^ 1]
            message_id = f"live.{number}"
            self._meant_ns[message_id] = int(at_ns)
            late_ns = max(0, monotonic_ns() - int(at_ns))
            conversation_id = ConversationId(f"live.{sender // 2}")
            visitor.send(conversation_id, peer.user, message_id, ciphertext, late_ns=late_ns)
            visitor.flush()

    def _take_ack(self, message_id: str) -> None:
        meant_ns = self._meant_ns.pop(message_id)
        self._when_ns.append(meant_ns)
        self._took_ns.append(monotonic_ns() - meant_ns)

    async def _settle(self) -> None:
        for _ in range(int(SETTLE_SECONDS / POLL_SECONDS)):
            if not self._meant_ns:
                return
            await asyncio.sleep(POLL_SECONDS)

    async def _read_back(self) -> None:
        for visitor in self._visitors:
            visitor.drop()
        for visitor in self._visitors:
            await FinalRead(self._recorder, visitor.token, visitor.base).run(self._plan.url)

    def _latencies(self, span: Span) -> tuple[Latencies, int]:
        """Of the sends that were meant for this time, and how many they were."""
        latencies, count = Latencies(), 0
        for when_ns, took_ns in zip(self._when_ns, self._took_ns, strict=True):
            if span.began_ns <= when_ns < span.ended_ns:
                latencies.record(took_ns / 1e9)
                count += 1
        return latencies, count

    def _fail(self, reason: str) -> None:
        if not self.failure.done():
            self.failure.set_exception(LoadError(reason))


if __name__ == "__main__":
    main()
