"""What the operator says by signals to a relay that runs.

SIGTERM, SIGINT   the first asks for an orderly end, the second ends all on the spot
SIGHUP            a reload; the end, where the terminal has gone that the relay was started from
SIGUSR1           its state, as a line of the log
"""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Callable
from typing import Final, NoReturn

import trio

from relay.exits import ExitCode
from relay.hangup import Hangup

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)


async def obey(
    signals: AsyncIterator[int],
    hangup: Hangup,
    told_to_stop: trio.Event,
    *,
    reload: Callable[[], None],
    say_status: Callable[[], None],
    die: Callable[[int], NoReturn],
) -> None:
    """Do what each of `signals` asks for, in one step. Who awaits `told_to_stop` ends in order."""
    async for number in signals:
        if number == signal.SIGUSR1:
            say_status()
        elif number == signal.SIGHUP:
            if hangup.means_the_end():  # told twice, it is no more urgent
                told_to_stop.set()
            else:
                reload()
        elif told_to_stop.is_set():
            die(ExitCode.FAILED)  # what was acknowledged is on disk; nothing else counts
        else:
            told_to_stop.set()
