"""The load on a relay: pairs of users who write when a seed has said, whatever the relay does.

Run as a process of its own (`python -m bench.offered.load`, an `OfferedPlan` on standard input). It
always ends by itself: every step has a limit.
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
from functools import partial
from pathlib import Path
from time import monotonic_ns, process_time
from typing import Final

from bench.checker.bystanders import BASELINE
from bench.history import Recorder
from bench.offered.plan import Offered, OfferedPlan, decode_plan
from bench.open_loop.arrivals import NS, arrivals_of
from bench.open_loop.course import course, paced
from bench.open_loop.crowd import Crowd
from bench.open_loop.person import Contents, Person, Shared
from bench.plan import Progress, Started, Stopped
from bench.process import asked, run_load, say
from bench.user import subject
from ksmp.types import ConversationId

PROGRESS_SECONDS: Final = 0.5


def main() -> None:
    """Offer the one load on standard input, report on standard output."""
    run_load(_run, decode_plan(asked()), OSError)


async def _run(plan: OfferedPlan) -> None:
    recorder = Recorder(
        Path(plan.history),
        relay=plan.relay,
        seed=plan.seed,
        configuration={
            "connections": len(plan.tokens),
            "rate_per_s": plan.rate_per_s,
            "size": plan.size,
            "seconds": plan.seconds,
        },
    )
    crowd = _crowd(plan, recorder)
    generator_cpu, unread = await course(crowd, recorder, partial(_offer, plan, crowd, recorder))
    say(Offered(generator_cpu, unread))


def _crowd(plan: OfferedPlan, recorder: Recorder) -> Crowd:
    contents = Contents(recorder, os.urandom(plan.size), b"")
    chance = random.Random(f"{plan.seed} backoff")
    shared = Shared(plan.url, recorder, contents, chance, set())
    users = [subject(token) for token in plan.tokens]
    run_id = secrets.token_hex(4)
    persons = [
        Person(
            shared,
            token=token,
            user=users[number],
            peer=users[number ^ 1],
            conversation_id=ConversationId(f"latency.{run_id}.{number // 2}"),
            receive_bytes=None,
            run_id=run_id,
        )
        for number, token in enumerate(plan.tokens)
    ]
    return Crowd(shared, persons)


async def _offer(plan: OfferedPlan, crowd: Crowd, recorder: Recorder) -> float:
    """All sends of the load; the share of a core that this process took while it counted."""
    arrivals = arrivals_of(
        str(plan.seed), plan.rate_per_s, plan.warm_up_seconds, plan.seconds, len(plan.tokens)
    )

    def send(number: int, meant_ns: int) -> None:
        crowd.persons[arrivals.sender[number]].send(meant_ns)

    return await paced(arrivals.at_ns, plan.warm_up_seconds, send, partial(_count, plan, recorder))


async def _count(plan: OfferedPlan, recorder: Recorder, began_ns: int) -> float:
    """From the end of the warm-up to the last send; the history has a window of it."""

    def now() -> float:
        return (monotonic_ns() - began_ns) / NS

    await asyncio.sleep(max(0.0, -now()))
    say(Started())
    window, cpu = recorder.begin(BASELINE), process_time()
    while (passed := now()) < plan.seconds:
        say(Progress("measuring", max(0.0, passed), plan.seconds))
        await asyncio.sleep(min(PROGRESS_SECONDS, plan.seconds - passed))
    recorder.end(window)
    share = (process_time() - cpu) / plan.seconds
    say(Stopped())
    return round(share, 3)


if __name__ == "__main__":
    main()
