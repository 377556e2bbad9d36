"""The checker's verdict on the history that a measurement has recorded."""

from __future__ import annotations

from pathlib import Path

from bench.checker.check import Report, check
from bench.checker.reading import HistoryError
from bench.run import RunError, judging_bar


def judged(history: Path) -> Report:
    """Judge it, with a bar on a terminal.

    Raises:
        RunError: it cannot be judged.
    """
    try:
        with judging_bar() as show:
            return check(history, show)
    except (HistoryError, OSError) as error:
        raise RunError(f"the history cannot be judged: {error}") from None
