"""The four words of the ordering benchmark, each for the fault that it names."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.checker.check import judge
from bench.checker.loading import story_of
from bench.checker.order import Order
from tests.bench.checker import planted_log, planted_streams
from tests.bench.checker.once import Once
from tests.bench.checker.tale import Line, Tale, told


class TurnsTwoFramesAround(Once):
    def _deliver_to(self, line: Line) -> None:
        super()._deliver_to(line)
        if line.user == "bob" and line.cursor > 2 and self.first_time():
            inbox = self.inboxes["bob"]
            self._store_two()
            numbers = (len(inbox), len(inbox) - 1)
            frames = tuple(self._frame(line, number, inbox[number - 1]) for number in numbers)
            self.recorder.frames(line.number, frames)
            line.cursor = len(inbox)

    def _store_two(self) -> None:
        for _ in range(2):
            self._store(self._offer(self.envelope(("t0", "ann", "bob"))))


@pytest.mark.parametrize(
    "tale,word",
    [
        (Tale, None),
        (planted_streams.SkipsAFrame, "gaps"),
        (planted_streams.SendsAFrameTwice, "duplicates"),
        (TurnsTwoFramesAround, "reordered"),
        (planted_log.BreaksTheChain, "chain_breaks"),
    ],
)
def test_each_fault_is_counted_under_its_own_name(
    tale: type[Tale], word: str | None, tmp_path: Path
) -> None:
    report = judge(story_of(*told(tmp_path, 2, tale=tale)))
    expected = Order(checked=report.frames)
    if word is not None:
        setattr(expected, word, 1)

    assert report.order == expected
