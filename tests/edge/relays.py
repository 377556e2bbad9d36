"""The relays that rows run against: watched from outside by what they print about themselves."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Final

import trio

from tests.wire.canaries import found_in, outside_the_store
from tests.wire.relay_process import RelayProcess

CANARY: Final = "canary5b8e"
"""In every name, token and byte that a row may choose."""

ISSUER: Final = "https://id.example"
"""Whose tokens the relays take; a configured issuer is looked at, another would not be."""

BACK_SECONDS: Final = 10.0
POLL_SECONDS: Final = 0.001

Status = dict[str, int]
"""What `relay.status` counts."""


class WatchedRelay:
    """One relay process whose standard error is read as it grows."""

    def __init__(self, process: RelayProcess, transport: str) -> None:
        self.process = process
        self.transport = transport
        self.baseline: Status = {}
        self._read = 0
        self._unread = b""

    async def settle(self) -> None:
        """Take what the relay holds now as what it has to come back to after each row."""
        self._next_lines()
        self.baseline = await self.status()

    async def assert_back(self) -> None:
        """The relay lives, holds what it held before the row, and has not said what it heard."""
        said: list[bytes] = []
        now: Status = {}
        try:
            with trio.fail_after(BACK_SECONDS):
                while (now := await self.status(said)) != self.baseline:
                    pass
        except trio.TooSlowError:
            before, self.baseline = self.baseline, now  # the next rows are judged on their own
            raise AssertionError(f"{now} instead of {before}") from None
        self._assert_discreet(b"\n".join(said))

    async def status(self, said: list[bytes] | None = None) -> Status:
        """What the relay holds now; conversations, which may stay, are taken off its tasks.

        `said` collects the lines it has logged since the last look.
        """
        self.process.signal(signal.SIGUSR1)
        with trio.fail_after(BACK_SECONDS):
            while True:
                assert self.process.is_running, self.process.output()[-2_000:]
                for line in self._next_lines():
                    if said is not None:
                        said.append(line)
                    if b'"relay.status"' in line:
                        return _held(json.loads(line))
                await trio.sleep(POLL_SECONDS)

    def assert_never_said(self) -> None:
        """In all that was ever printed, and in no name of a file, there is what a client chose."""
        self._assert_discreet(self.process.output() + outside_the_store(self.process.directory))

    def _next_lines(self) -> list[bytes]:
        with self.process.stderr_path.open("rb") as stderr:
            stderr.seek(self._read)
            printed = stderr.read()
        self._read += len(printed)
        *lines, self._unread = (self._unread + printed).split(b"\n")
        return lines

    @staticmethod
    def _assert_discreet(printed: bytes) -> None:
        assert found_in(printed, [CANARY.encode()]) == []
        for fault in (b"Traceback", b'"bug"', b'"connection.failed"', b'"actor.failed"'):
            assert fault not in printed, printed[-2_000:]


def _held(line: dict[str, object]) -> Status:
    counted = {name: value for name, value in line.items() if isinstance(value, int)}
    counted["tasks"] -= counted.pop("conversations")
    return counted


def settings(key_set: Path, transport: str) -> dict[str, str]:
    """What every relay of the table is given: all of its log, and the issuer's keys."""
    return {
        "KSMP_AUTH__JWKS_FILE": str(key_set),
        "KSMP_AUTH__ISSUER": ISSUER,
        "KSMP_LOG__LEVEL": "debug",
        "KSMP_LOG__FORMAT": "json",
        "KSMP_SERVER__WEBSOCKET": transport,
    }
