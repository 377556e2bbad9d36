"""How a run with faults ends: every inbox is read once more, and the history is judged.

@pytest.mark.promises("I1", "I9")
    the promises that the run is about: each must have been put to the test, and none broken

@pytest.mark.promises("I13", broken=True)
    the relay is broken on purpose: the checker must find these broken

@pytest.mark.promises("I18", final_read=False)
    there is nobody left to read from, or nothing to read
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import pytest
import trio

from bench.checker.check import Report, check
from bench.checker.invariants import ALL
from bench.checker.printing import excerpt_lines
from bench.history import Recorder
from tests.wire import messages
from tests.wire.clients import Frame
from tests.wire.connecting import Clients
from tests.wire.recording import RecordedLine, Recording

PROMISES: Final = frozenset(invariant.name for invariant in ALL)

READER: Final = "reader-of-the-end"
"""The device that reads inboxes once more."""


class Promised(NamedTuple):
    """What a test is marked with."""

    names: frozenset[str]
    broken: bool
    final_read: bool

    @classmethod
    def of(cls, mark: pytest.Mark) -> Promised:
        """What the mark says; it must name something."""
        assert mark.args, "name the promises that this run is about"
        assert PROMISES.issuperset(mark.args), f"no promise of the programme: {mark.args}"
        final_read = mark.kwargs.get("final_read", True)
        return cls(frozenset(mark.args), mark.kwargs.get("broken", False), final_read)


@contextmanager
def judged(own: Clients, promised: Promised, history: Path) -> Iterator[Clients]:
    """Clients who are recorded from now on; at the end the verdict must be what was promised.

    A run that has failed before is judged too, since that may tell why.
    """
    with Recorder(history, relay="under test") as recorder:
        recording = own.relay.witness = Recording(recorder)
        recorded = own._replace(recording=recording)
        yield recorded
        if promised.final_read and recording.unread:
            if not own.relay.is_running:
                own.relay.start()
            trio.run(partial(read_everything, recorded))
    require_verdict(check(history), promised, history)


async def read_everything(own: Clients) -> dict[str, list[Frame]]:
    """Read every inbox once more, when nobody sends any longer; once is enough."""
    recording = own.recording
    assert recording is not None
    replays = {}
    for user in sorted(recording.unread):
        async with own.connect(user, device=READER) as peer:
            assert isinstance(peer.witness, RecordedLine)
            peer.witness.reads_to_the_end = True
            await peer.tell(messages.resume(0))
            replays[user] = [await peer.receive_frame()]
            while replays[user][-1].event["type"] != "ksmpv3.resume.complete":
                replays[user].append(await peer.receive_frame())
    return replays


def require_verdict(report: Report, promised: Promised, history: Path) -> None:
    """The verdict is that what was promised was put to the test, and kept; or broken as planted."""
    lines = [line for one in report.verdicts if one.excerpt for line in excerpt_lines(one)]
    told = "\n".join([f"The history is {history}.", *lines])
    assert report.whole, f"the recording was not ended\n{told}"
    if promised.broken:
        unnoticed = promised.names.difference(report.violated)
        assert not unnoticed, f"not found broken: {sorted(unnoticed)}\n{told}"
        return
    assert report.ok, told
    idle = promised.names.intersection(report.not_exercised)
    assert not idle, f"never put to the test: {sorted(idle)}\n{told}"
