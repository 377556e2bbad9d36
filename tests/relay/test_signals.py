"""What the operator's signals mean: an end in order, an end on the spot, a reload, a status."""

from __future__ import annotations

import signal
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import NoReturn

import pytest
import trio

from relay.exits import ExitCode
from relay.hangup import Hangup
from relay.signals import obey

pytestmark = pytest.mark.trio


class Died(Exception):
    """The process would have ended on the spot."""


class ToldBy(Hangup):
    """A hangup as whoever started the relay means it, without this process listening to it."""

    def __init__(self, *, has_lost_its_terminal: bool) -> None:
        self._has_lost_its_terminal = has_lost_its_terminal

    def means_the_end(self) -> bool:
        return self._has_lost_its_terminal


async def deeds(*signals: int, has_lost_its_terminal: bool = False) -> list[str]:
    """What a relay does that is sent these."""
    done: list[str] = []
    told_to_stop = trio.Event()

    async def sent() -> AsyncGenerator[int, None]:
        for number in signals:
            await trio.lowlevel.checkpoint()
            yield number

    def die(code: int) -> NoReturn:
        done.append(f"dies with {code}")
        raise Died

    async with aclosing(sent()) as arriving:
        with suppress(Died):
            await obey(
                arriving,
                ToldBy(has_lost_its_terminal=has_lost_its_terminal),
                told_to_stop,
                reload=lambda: done.append("reloads"),
                say_status=lambda: done.append("says its status"),
                die=die,
            )
    return [*done, "stops"] if told_to_stop.is_set() else done


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_first_stop_asks_for_an_orderly_end_and_the_second_ends_all_on_the_spot(
    number: int,
) -> None:
    assert await deeds(number) == ["stops"]
    assert await deeds(number, signal.SIGTERM) == [f"dies with {ExitCode.FAILED}", "stops"]


async def test_a_hangup_reloads_unless_the_terminal_of_the_relay_has_gone() -> None:
    assert await deeds(signal.SIGHUP) == ["reloads"]
    assert await deeds(signal.SIGHUP, has_lost_its_terminal=True) == ["stops"]


async def test_a_terminal_that_has_gone_ends_nothing_on_the_spot_however_often_it_is_told() -> None:
    assert await deeds(*[signal.SIGHUP] * 3, has_lost_its_terminal=True) == ["stops"]


async def test_a_relay_that_was_told_to_stop_still_says_its_status() -> None:
    assert await deeds(signal.SIGTERM, signal.SIGUSR1) == ["says its status", "stops"]
