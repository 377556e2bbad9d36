"""SIGHUP, which has two meanings: read the configuration again, or: your terminal has gone.

The second only to a relay that was started in the foreground of a terminal, and only once that is
gone; `nohup` says that even then it is not meant.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from types import FrameType
from typing import Final

TERMINAL: Final = "/dev/tty"


class Hangup:
    """From when it is made, SIGHUP ends this process no more, whoever else listens meanwhile."""

    def __init__(self) -> None:
        self.has_come = False
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # until there is a status to tell
        is_ignored = signal.signal(signal.SIGHUP, self._note) is signal.SIG_IGN
        self._lives_in_terminal = not is_ignored and _is_in_foreground()

    def means_the_end(self) -> bool:
        """Whether whoever started the relay has closed the terminal it was running in."""
        return self._lives_in_terminal and not _has_terminal()

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self.has_come = True


def _has_terminal() -> bool:
    return _foreground_group() is not None


def _is_in_foreground() -> bool:
    return _foreground_group() == os.getpgrp()


def _foreground_group() -> int | None:
    """The process group that the terminal of this process runs now; None without a terminal."""
    with suppress(OSError):
        terminal = os.open(TERMINAL, os.O_RDONLY | os.O_NOCTTY)
        try:
            return os.tcgetpgrp(terminal)
        finally:
            os.close(terminal)
    return None
