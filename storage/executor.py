"""The seam between the event loop and the one thread that may wait for the disk.

Storage never starts a thread: it is handed executors, and a simulation hands in one that runs
each job inline at a virtual time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

T = TypeVar("T")


class Executor(Protocol):
    """Runs jobs one at a time, in order, off the event loop; tells the loop what they returned."""

    def submit(self, job: Callable[[], T], deliver: Callable[[T], None]) -> None:
        """Run `job` after those submitted before it, then `deliver` its result on the loop.

        Called on the event loop's thread, and never waits. `job` must not raise: what went wrong
        is part of its result. Results are delivered in the order of submission.
        """
