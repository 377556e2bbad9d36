"""A full store is told once, and once when it is over."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from ksmp.types import ServerSeq
from storage.log import Appended, ConversationHead, Full, Outcome
from storage.space import QUIET_SECONDS, SpaceWatch

STORED = Appended({})
READ = ConversationHead(ServerSeq(0), b"")


@pytest.mark.trio
async def test_each_change_is_told_once_however_often_the_disk_hovers(
    autojump_clock: MockClock,
) -> None:
    told: list[bool] = []
    watch = SpaceWatch(told.append)

    async def goes_on(after_seconds: float, *outcomes: Outcome) -> list[bool]:
        await trio.sleep(after_seconds)
        watch.note(outcomes)
        return told

    assert await goes_on(0, STORED) == []
    assert await goes_on(1, READ, Full()) == [False]
    assert await goes_on(1, STORED) == [False]
    assert await goes_on(QUIET_SECONDS - 2, Full(), STORED) == [False]
    assert await goes_on(QUIET_SECONDS - 1, STORED) == [False]
    assert await goes_on(1, READ) == [False], "nothing was stored"
    assert await goes_on(0, STORED) == [False, True]
    assert await goes_on(QUIET_SECONDS, STORED) == [False, True]
    assert await goes_on(0, Full()) == [False, True, False]
