"""The relay that is tortured: one data directory, one port, one process after the other.

Everything here is awaited by looking again and again: what ends a process or makes it listen does
not tell us, and a thread that waits could outlive an interrupted campaign.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Final, NamedTuple, Self

import msgspec
from msgspec import Struct

from bench.ending import undisturbed
from bench.history import Recorder
from bench.relay_of_its_own import DATA, LIFTED, PROGRAM, inherited_environment
from bench.run import PACKAGES
from bench.torture.errors import BrokenError
from bench.torture.processes import POLL_SECONDS, in_words, true_within
from bench.wide_store import STORE
from ksmp.types import DeviceId, UserId

START_SECONDS: Final = 60.0
END_SECONDS: Final = 60.0
ANSWER_SECONDS: Final = 20.0
ASK_AGAIN_SECONDS: Final = 0.05

PORTS: Final = range(20_000, 32_000)
"""Below those that the system gives to clients: a client that knocks at a port nobody listens on
could otherwise be given that very port, and be connected with itself."""

ISSUED_AT: Final = 1
LIFETIME_SECONDS: Final = 2**33
"""Tokens hold whatever the clock says."""


class Listening(Struct):
    """An entry of the ports file."""

    host: str
    port: int


class Readiness(Struct):
    """What `/readyz` says."""

    ready: bool
    reasons: list[str]


class Start(NamedTuple):
    """How long a start took, and of what: from the process to the first connection accepted.

    Those under strace are not counted, which makes them slow.
    """

    seconds: float
    records: int


class TorturedRelay:
    """At most one process at a time. Leaving the block ends it."""

    def __init__(
        self,
        directory: Path,
        settings: Mapping[str, str],
        recorder: Recorder,
        *,
        program: Sequence[str] = PROGRAM,
        data: Path | None = None,
        records: int = 0,
        chance: Random | None = None,
    ) -> None:
        """`data` is where its data are, if not in `directory`; `records` what it begins with."""
        self.directory = directory
        self.data = directory / DATA if data is None else data
        self.starts: list[Start] = []
        self.settings = dict(settings)
        self.port = _free_port(chance or Random())
        self._recorder = recorder
        self._program = tuple(program)
        self._records = records
        self._log = directory / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self._began = 0.0
        self._admin: Listening | None = None
        self._is_known_down = True
        self._is_traced = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    @property
    def url(self) -> str:
        """Where its clients find it, over all restarts."""
        return f"ws://127.0.0.1:{self.port}/ksmp/v3"

    @property
    def store(self) -> Path:
        """The directory that holds the store's files."""
        return self.data / STORE

    @property
    def pid(self) -> int:
        """Of the process that runs, or ran last."""
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether there is a process that has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def logged(self) -> str:
        """All that its processes have written on standard error."""
        return self._log.read_text(errors="replace")

    # ── life ─────────────────────────────────────────────────────────────────────────────────

    async def start(self, tracer: Sequence[str] = (), *, exit_codes: Sequence[int] = ()) -> bool:
        """Start it and wait until it takes connections; False where it has ended before.

        `tracer` is put in front of the command line, and must become the relay's tracer and not
        its parent.

        Raises:
            BrokenError: it ends with none of `exit_codes`, or does not take connections in time.
        """
        self.begin(tracer)
        return await self.listens(exit_codes=exit_codes)

    def begin(self, tracer: Sequence[str] = ()) -> None:
        """Start the process, and wait for nothing."""
        assert not self.is_running, "one process at a time"
        self._ports_file.unlink(missing_ok=True)
        self._is_traced = bool(tracer)
        words = [*tracer, *self._program, "serve", "--data", str(self.data)]
        words += ["--host", "127.0.0.1", "--port", str(self.port), "--admin-port", "0"]
        words += ["--ports-file", str(self._ports_file)]
        with self._log.open("ab") as log, (self.directory / "output").open("ab") as output:
            self._began = time.monotonic()
            with undisturbed():
                self._process = subprocess.Popen(
                    words,
                    cwd=PACKAGES,
                    env=inherited_environment() | LIFTED | self.settings,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=log,
                    process_group=0,
                )

    async def listens(self, *, exit_codes: Sequence[int] = ()) -> bool:
        """Wait until the process that was begun takes connections; see `start`."""
        assert self._process is not None
        deadline = self._began + START_SECONDS
        while not self._ports_file.exists():
            code = self._process.poll()
            if code is not None:
                if code not in exit_codes:
                    raise BrokenError(f"the start ended {in_words(code)}: {self.last_words}")
                return False
            if time.monotonic() > deadline:
                raise BrokenError(f"no start within {START_SECONDS:.0f} s")
            await asyncio.sleep(POLL_SECONDS)
        if not self._is_traced:
            self.starts.append(Start(time.monotonic() - self._began, self._records))
        listening = msgspec.json.decode(self._ports_file.read_bytes(), type=dict[str, Listening])
        self._admin = listening["admin"]
        self._recorder.up()
        self._is_known_down = False
        return True

    def kill(self) -> None:
        """SIGKILL, and it is gone."""
        assert self._process is not None
        self._note_down("kill")
        self._process.kill()
        self._process.wait()

    def signal(self, number: int) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    async def stop(self, exit_code: int = 0) -> None:
        """SIGTERM, and wait for the end.

        Raises:
            BrokenError: it ends otherwise than with `exit_code`, or not at all.
        """
        self.signal(signal.SIGTERM)
        code = await self.ended()
        if code != exit_code:
            raise BrokenError(f"told to end, it ended {in_words(code)}: {self.last_words}")

    async def ended(self, within_seconds: float = END_SECONDS) -> int:
        """Wait for the process to end by itself; how it did.

        Raises:
            BrokenError: it does not.
        """
        assert self._process is not None
        if not await true_within(within_seconds, lambda: not self.is_running):
            raise BrokenError(f"still running after {within_seconds:.0f} s")
        self._note_down("end")
        return int(self._process.returncode)

    def _note_down(self, how: str) -> None:
        if not self._is_known_down:
            self._recorder.down(how)
            self._is_known_down = True

    # ── what it says ─────────────────────────────────────────────────────────────────────────

    async def not_ready(self, reasons: AbstractSet[str], within_seconds: float) -> None:
        """Wait until its operator is told of exactly these reasons; of none: that it is ready.

        Raises:
            BrokenError: that does not come.
        """
        deadline = time.monotonic() + within_seconds
        while (told := set(await self._not_ready_because())) != reasons:
            if time.monotonic() > deadline:
                raise BrokenError(f"/readyz says {sorted(told)}, and not {sorted(reasons)}")
            await asyncio.sleep(ASK_AGAIN_SECONDS)

    async def _not_ready_because(self) -> Sequence[str]:
        assert self._admin is not None
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                body = await _get(self._admin, "/readyz")
        except (OSError, TimeoutError):
            raise BrokenError("its operator is not answered") from None
        try:
            return msgspec.json.decode(body, type=Readiness).reasons
        except msgspec.MsgspecError:
            return [f"something else: {body[:100]!r}"]

    @property
    def last_words(self) -> str:
        """The last line that it has written for people, or for programs."""
        lines = self.logged.strip().splitlines()
        plain = [line for line in lines if not line.startswith("{")]
        return (plain or lines or ["silence"])[-1]

    @property
    def _ports_file(self) -> Path:
        return self.directory / "ports.json"

    def tokens(self, users: Sequence[str]) -> Sequence[str]:
        """A token for each, which holds for ever."""
        from relay.config import AuthConfig
        from relay.keys import issue_token, load_or_create_signing_key

        key = load_or_create_signing_key(self.data)
        return [
            issue_token(
                key,
                user=UserId(user),
                device=DeviceId("default"),
                audience=AuthConfig().audience,
                issuer=None,
                issued_at=ISSUED_AT,
                lifetime_seconds=LIFETIME_SECONDS,
            )
            for user in users
        ]


async def _get(admin: Listening, path: str) -> bytes:
    reader, writer = await asyncio.open_connection(admin.host, admin.port)
    try:
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: {admin.host}\r\nConnection: close\r\n\r\n".encode()
        )
        return (await reader.read()).partition(b"\r\n\r\n")[2]
    finally:
        writer.close()


def _free_port(chance: Random) -> int:
    """One that nobody listens on, and that no client is given by the system."""
    for _ in range(100):
        port = chance.choice(PORTS)
        with socket.socket() as trying:
            trying.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trying.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise BrokenError("no port is free")
