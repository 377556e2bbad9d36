"""Being told to end, for a program that has processes and directories to clear away first.

Ctrl-C unwinds a Python program; SIGTERM (`timeout`, a job that is cancelled) and SIGHUP (a terminal
that is closed) end it on the spot, and what it started would go on without it.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final, NoReturn

ASKED_TO_END: Final = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def unwound_when_told_to_end() -> Iterator[None]:
    """SIGTERM and SIGHUP leave this block as an exception, so that every `finally` in it runs.

    Signals that are ignored (`nohup`) or that somebody else listens to are left alone. From the
    first one on, all of them are, until the block has been left: tidying up is not disturbed.
    Only the main thread is ever told, so in any other this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    taken = [number for number in ASKED_TO_END if signal.getsignal(number) is signal.SIG_DFL]

    def end(number: int, _frame: FrameType | None) -> NoReturn:
        for one in taken:
            signal.signal(one, signal.SIG_IGN)
        raise SystemExit(128 + number)  # as a shell reports it

    for number in taken:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Ctrl-C, SIGTERM and SIGHUP have their effect when this block is over.

    So a process that is started in it is known to whoever has to end it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, *ASKED_TO_END)}
    taken = {number: handler for number, handler in before.items() if callable(handler)}
    for number in taken:
        signal.signal(number, lambda number, _frame: came.append(number))
    try:
        yield
    finally:
        for number, handler in taken.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])
