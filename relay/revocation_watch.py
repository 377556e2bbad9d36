"""The task that notices a revocation and puts it in force, in a relay that is running.

It looks at the file once a second, so that a command needs no way to reach the relay. A file that
cannot be used changes nothing: what was revoked before stays so, and the log says why.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Final

import trio

from actors.telemetry import Telemetry
from relay.exits import CommandError, on_one_line
from relay.revocation_file import RevokedSince, missing, read_revocations, stamp_of
from relay.revocations import Revocations
from relay.threads import InThread

LOOK_SECONDS: Final = 1.0


class RevocationWatch:
    """Keeps `revocations` those of the file: from when it is made, and as the file changes."""

    def __init__(self, directory: Path, in_thread: InThread, telemetry: Telemetry) -> None:
        """Reads the file in `directory`, without which nobody can be let in.

        Raises:
            CommandError: it cannot be read, or is damaged.
        """
        self._directory = directory
        self._in_thread = in_thread
        self._telemetry = telemetry
        self._seen = stamp_of(directory)  # before reading: what comes in between is read again
        self._problem = ""
        self.revocations = Revocations(read_revocations(directory))
        if self._seen is not None:
            telemetry.info("revocations.loaded", revocations=len(self.revocations))

    async def run(self, enforce: Callable[[], Awaitable[None]]) -> None:
        """Look for another version until cancelled; `enforce` ends whoever is revoked by then."""
        await enforce()  # restarted, it may have left this half done
        while True:
            await trio.sleep(LOOK_SECONDS)
            found = await self._look()
            if found is not None:
                self.revocations.adopt(found)
                self._telemetry.info("revocations.loaded", revocations=len(found))
                await enforce()

    async def _look(self) -> RevokedSince | None:
        """What another version of the file holds; None where there is none to go by.

        A version that could not be read, for want of a descriptor perhaps, is tried again.
        """
        found = None
        try:
            stamp = await self._in_thread(partial(stamp_of, self._directory))
            if stamp != self._seen:
                if stamp is None:
                    raise missing(self._directory)
                found = await self._in_thread(partial(read_revocations, self._directory))
                self._seen = stamp
        except CommandError as unusable:
            self._complain(unusable)
        else:
            self._problem = ""
        return found

    def _complain(self, unusable: CommandError) -> None:
        problem = on_one_line(unusable.what, unusable.why, unusable.what_to_do)
        if problem != self._problem:
            self._problem = problem
            self._telemetry.error("revocations.unusable", problem=problem)
