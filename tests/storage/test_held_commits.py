"""Commits wait while the journal is far ahead of the tables, and never for ever."""

from __future__ import annotations

from pathlib import Path

import lmdb
import pytest
import trio

from storage.commit_meter import CommitMeter
from storage.environment import Environment
from storage.errors import NoSpaceError
from storage.lmdb_log import LmdbLog
from storage.log import Appended, Failed, Full, Outcome
from tests.storage.world import (
    PLENTY,
    InlineExecutor,
    Sent,
    SteppedExecutor,
    append,
    base,
    conversation,
    head_after,
    opened,
)

KEY = conversation("ann", "bob")
SMALL = 4 * 512


class Sender:
    """One conversation on a log whose tables are behind until somebody folds."""

    def __init__(self, environment: Environment) -> None:
        self.folding = SteppedExecutor()
        self.failures: list[Exception] = []
        self.outcomes: list[Outcome] = []
        self.now = 0.0
        self.meter = CommitMeter(lambda: self.now)
        self._head = base(KEY)
        self._log = LmdbLog(
            environment,
            writing=InlineExecutor(),
            reading=InlineExecutor(),
            folding=self.folding,
            free_bytes=lambda: PLENTY,
            after_commit=lambda: None,
            on_failure=self.failures.append,
            on_bug=self.failures.append,
            meter=self.meter,
        )

    def send(self) -> None:
        new = append(KEY, self._head, [Sent("ann", f"k{len(self.outcomes)}")])

        def settle(outcome: Outcome) -> None:
            self.outcomes.append(outcome)
            if isinstance(outcome, Appended):
                self._head = head_after(new)

        self._log.submit(new, settle)

    async def send_until_held(self) -> None:
        """The last one waits."""
        sent = 0
        while sent == len(self.outcomes):
            self.send()
            sent += 1
            await trio.lowlevel.checkpoint()
        assert all(isinstance(outcome, Appended) for outcome in self.outcomes)


@pytest.fixture
def environment(tmp_path: Path):
    with opened(tmp_path / "store", segment_bytes=SMALL) as environment:
        yield environment


async def test_what_waits_is_stored_once_the_tables_have_come_closer(
    environment: Environment,
) -> None:
    sender = Sender(environment)
    await sender.send_until_held()
    assert sender.meter.under_way_seconds == 0.0
    sender.now += 3.0
    assert sender.meter.under_way_seconds == 3.0, "whoever waits for the tables waits for the disk"

    sender.folding.finish()

    assert sender.meter.under_way_seconds == 0.0
    assert isinstance(sender.outcomes[-1], Appended)
    assert sender.failures == []


async def test_what_waits_is_refused_where_the_tables_find_no_room_and_sending_recovers(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(_: int) -> None:
        raise NoSpaceError

    sender = Sender(environment)
    await sender.send_until_held()
    waiting = len(sender.outcomes)
    monkeypatch.setattr(environment, "reserve", no_room)
    sender.folding.run()
    sender.folding.deliver()

    assert [type(outcome) for outcome in sender.outcomes[waiting:]] == [Full]
    sender.now += 3.0
    assert sender.meter.under_way_seconds == 0.0
    monkeypatch.undo()
    sender.folding.finish()
    sender.send()
    assert isinstance(sender.outcomes[-1], Appended)
    assert sender.failures == []


async def test_what_waits_is_answered_when_the_tables_have_failed(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: int) -> None:
        raise lmdb.DiskError("planted")

    sender = Sender(environment)
    await sender.send_until_held()
    waiting = len(sender.outcomes)
    monkeypatch.setattr(environment, "reserve", broken)
    sender.folding.finish()

    assert [type(outcome) for outcome in sender.outcomes[waiting:]] == [Failed]
    assert sender.failures
