"""The load of the isolation experiment: an open loop, a fault in the middle, and a history of it.

Run as a process of its own (`python -m bench.isolation.load`, a `LoadPlan` on standard input). It
always ends by itself: every step has a limit.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from time import monotonic_ns, process_time
from typing import Final

from msgspec import structs

from bench.checker.bystanders import BASELINE
from bench.checker.records import Setting
from bench.history import Recorder
from bench.isolation.crowd import StruckCrowd
from bench.isolation.failpoints import FailpointError
from bench.isolation.faults import SLOWER, Fault, fault_of
from bench.isolation.plan import Done, Flooded, LoadPlan, decode_plan
from bench.isolation.schedule import schedule_of
from bench.isolation.timeline import Phase
from bench.open_loop.arrivals import NS
from bench.open_loop.course import course, paced
from bench.plan import Progress, Started, Stopped
from bench.process import asked, run_load, say

PROGRESS_SECONDS: Final = 0.5


def main() -> None:
    """Do the one experiment on standard input, report on standard output."""
    run_load(_run, decode_plan(asked()), FailpointError, OSError)


async def _run(plan: LoadPlan) -> None:
    recorder = Recorder(
        Path(plan.history),
        relay=plan.relay,
        seed=plan.experiment.seed,
        configuration=_configuration(plan),
    )
    crowd = StruckCrowd(plan, recorder)

    async def strike() -> tuple[float, Flooded | None]:
        fault = fault_of(plan, crowd.persons)
        try:
            await fault.prepare()
            generator_cpu = await _Experiment(plan, crowd, recorder, fault).run()
        finally:
            flooded = await fault.close()
        return generator_cpu, flooded

    (generator_cpu, flooded), unread = await course(crowd, recorder, strike)
    say(Done(generator_cpu, flooded, unread))


class _Experiment:
    """From the warm-up to the end of the recovery."""

    def __init__(
        self, plan: LoadPlan, crowd: StruckCrowd, recorder: Recorder, fault: Fault
    ) -> None:
        self._plan = plan
        self._crowd = crowd
        self._recorder = recorder
        self._fault = fault
        self._began_ns = 0

    async def run(self) -> float:
        """The share of a core that this process took while it counted."""
        plan = self._plan
        schedule = schedule_of(plan.experiment, plan.rate_per_s, plan.warm_up_seconds)
        persons = self._crowd.persons

        def send(number: int, meant_ns: int) -> None:
            is_poison = bool(schedule.is_poison[number])
            persons[schedule.sender[number]].send(meant_ns, is_poison=is_poison)

        return await paced(schedule.at_ns, plan.warm_up_seconds, send, self._phases)

    async def _phases(self, began_ns: int) -> float:
        """Windows of the history hold what was ordered: they open before, and close after it."""
        self._began_ns = began_ns
        recorder, fault, experiment = self._recorder, self._fault, self._plan.experiment
        _tell("warming up", 0, 1)
        await self._sleep_until(0.0)
        say(Started())
        cpu = process_time()
        window = recorder.begin(BASELINE, self._crowd.victims)  # the others, as later
        await self._pass("baseline")
        recorder.end(window)
        slower_ms = experiment.slower_ms if experiment.fault in SLOWER else 0
        window = recorder.begin(experiment.fault, self._crowd.victims, slower_ms)
        await fault.begin()
        try:
            await self._pass("fault")
        finally:
            await fault.end()
            recorder.end(window)
        await self._pass("recovery")
        cpu = process_time() - cpu
        say(Stopped())
        return round(cpu / experiment.seconds, 3)

    async def _pass(self, phase: Phase) -> None:
        """Wait for the end of a phase, telling how far it is."""
        began_s, ended_s = self._plan.experiment.phases[phase]
        while (now := self._now()) < ended_s:
            _tell(phase, max(0.0, now - began_s), ended_s - began_s)
            await self._sleep_until(min(ended_s, now + PROGRESS_SECONDS))

    async def _sleep_until(self, at_s: float) -> None:
        await asyncio.sleep(max(0.0, at_s - self._now()))

    def _now(self) -> float:
        return (monotonic_ns() - self._began_ns) / NS


def _tell(step: str, done: float, total: float) -> None:
    say(Progress(step, done, total))


def _configuration(plan: LoadPlan) -> dict[str, Setting]:
    """What was to be done, for the head of the history."""
    said: dict[str, Setting] = dict(structs.asdict(plan.experiment))
    return said | {"rate_per_s": plan.rate_per_s, "write_seconds": plan.write_seconds}


if __name__ == "__main__":
    main()
