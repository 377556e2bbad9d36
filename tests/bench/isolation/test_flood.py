"""Flooders who cannot flood end the experiment, and it says why."""

from __future__ import annotations

import asyncio

import pytest

from bench.isolation import flood
from bench.isolation.experiment import Experiment
from bench.isolation.flood import Flood
from bench.isolation.plan import LoadPlan
from bench.process import LoadError
from bench.relay_of_its_own import Admin

NOBODY_IS_STRUCK = Experiment("slow-sync", 2, 1, 25.0, 100.0, seed=1, quick=False)
PLAN = LoadPlan(NOBODY_IS_STRUCK, 100.0, "", (), (), Admin("", 0, ""), 1.0, "", "")


@pytest.mark.parametrize(
    ("module", "why"), [("json.tool", "do not answer"), ("nothing.of.this.name", "have ended")]
)
def test_flooders_that_say_nothing_are_not_waited_for_without_end(
    monkeypatch: pytest.MonkeyPatch, module: str, why: str
) -> None:
    monkeypatch.setattr(flood, "MODULE", module)  # the one waits for its input to end
    monkeypatch.setattr(flood, "ANSWER_SECONDS", 10.0 if why == "have ended" else 0.1)

    async def prepare() -> None:
        flooding = Flood(PLAN, (), 1)
        try:
            await flooding.prepare()
        finally:
            assert await flooding.close() is None

    with pytest.raises(LoadError, match=why):
        asyncio.run(prepare())
