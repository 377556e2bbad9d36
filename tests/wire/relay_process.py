"""A relay as its users run it: a process of its own, driven through its command line and its port.

Nothing here imports the relay. Settings go in through the environment, the port comes out of the
ports file, tokens come from the `token` command.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self

PROGRAM: Final = (sys.executable, "-c", "from relay.cli import main; main()")
REPOSITORY: Final = Path(__file__).parents[2]

START_SECONDS: Final = 30.0
STOP_SECONDS: Final = 20.0
POLL_SECONDS: Final = 0.01


class ProcessWitness(Protocol):
    """Told when the process of a relay ends and when it runs again."""

    def down(self, how: str) -> None:
        """It ends, or has ended."""

    def up(self) -> None:
        """It accepts connections."""


class RelayProcess:
    """One data directory, and the process that serves it while started.

    `settings` are environment variables (`KSMP_LIMITS__SENDS_BURST` …), `options` are more words
    for `serve`; `program` is what serves, if not the relay as it is shipped. What the process
    prints is kept over restarts and read with `output`.
    """

    def __init__(
        self,
        directory: Path,
        settings: Mapping[str, str] | None = None,
        options: Sequence[str] = (),
        program: Sequence[str] = PROGRAM,
    ) -> None:
        self.witness: ProcessWitness | None = None
        self.directory = directory
        self.data_directory = directory / "data"
        self.host = ""
        self.port = 0
        self.admin_address: tuple[str, int] | None = None
        self._settings = dict(settings or {})
        self._options = tuple(options)
        self.program = tuple(program)
        self._ports_file = directory / "ports.json"
        self._stdout = directory / "stdout"
        self._stderr = directory / "stderr"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        return self.host, self.port

    @property
    def url(self) -> str:
        """The WebSocket URL clients are given."""
        return f"ws://{self.host}:{self.port}/ksmp/v3"

    @property
    def stderr_path(self) -> Path:
        """The file that standard error goes to, over restarts."""
        return self._stderr

    @property
    def is_running(self) -> bool:
        """Whether the process has been started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self, settings: Mapping[str, str] | None = None) -> None:
        """Start the process and return once it accepts connections; `settings` are added."""
        assert not self.is_running
        self._settings.update(settings or {})
        self._ports_file.unlink(missing_ok=True)
        ports = ("--port", "0", "--admin-port", "0", "--ports-file", str(self._ports_file))
        arguments = (*self._data_arguments(), *ports, *self._options)
        with self._stdout.open("ab") as stdout, self._stderr.open("ab") as stderr:
            self._process = subprocess.Popen(
                [*self.program, "serve", *arguments],
                cwd=REPOSITORY,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
            )
        try:
            self._await_ports_file()
        except BaseException:
            self.kill()
            raise
        if self.witness is not None:
            self.witness.up()

    def kill(self) -> None:
        """End the process with SIGKILL, if it runs, and wait until it has gone."""
        if self._process is not None:
            if self.is_running and self.witness is not None:
                self.witness.down("kill")
            self._process.kill()
            self._process.wait(STOP_SECONDS)

    def signal(self, number: int) -> None:
        """Send a signal and return at once."""
        assert self._process is not None
        self._process.send_signal(number)

    def signal_terminate(self) -> None:
        """Send SIGTERM and return at once."""
        self.signal(signal.SIGTERM)

    def wait(self) -> int:
        """The exit code, once the process has ended by itself."""
        assert self._process is not None
        code = self._process.wait(STOP_SECONDS)
        if self.witness is not None:
            self.witness.down("end")
        return code

    def terminate(self) -> int:
        """Send SIGTERM and return the exit code."""
        self.signal_terminate()
        return self.wait()

    def restart(self) -> None:
        """Terminate and start again on the same data, on another port."""
        assert self.terminate() == 0
        self.start()

    def crash(self) -> None:
        """SIGKILL and start again on the same data, on another port."""
        self.kill()
        self.start()

    def tokens(self, users: list[str], *options: str) -> list[str]:
        """What `ksmp-relay token` prints for these users, one token each."""
        printed = self.run("token", *users, *self._data_arguments(), *options)
        tokens = printed.decode().splitlines()
        assert len(tokens) == len(users)
        return tokens

    def run(self, command: str, *arguments: str) -> bytes:
        """The standard output of a command of the program that must succeed."""
        finished = self.attempt(command, *arguments)
        assert finished.returncode == 0, finished.stderr.decode(errors="replace")
        return finished.stdout

    def attempt(self, command: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        """What becomes of a command of the program, whatever that is."""
        return subprocess.run(
            [*PROGRAM, command, *arguments],
            cwd=REPOSITORY,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=START_SECONDS,
            check=False,
        )

    def new_epoch(self) -> None:
        """Give the store a new epoch, as after a restore; the process must not run."""
        assert not self.is_running
        self.run("new-epoch", *self._data_arguments())

    def output(self) -> bytes:
        """All that every process of this relay has printed so far."""
        return b"".join(path.read_bytes() for path in (self._stdout, self._stderr) if path.exists())

    def _data_arguments(self) -> tuple[str, str]:
        return "--data", str(self.data_directory)

    def _environment(self) -> dict[str, str]:
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith("KSMP_")
        }
        return inherited | self._settings

    def _await_ports_file(self) -> None:
        # The file appears in one step, once connections are accepted; there is nothing to be
        # notified by, so it is polled.
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        while not self._ports_file.exists():
            code = self._process.poll()
            assert code is None, f"exited with {code}: {self.output().decode(errors='replace')}"
            assert time.monotonic() < deadline, "no ports file in time"
            time.sleep(POLL_SECONDS)
        listening = json.loads(self._ports_file.read_bytes())
        self.host, self.port = _address(listening["relay"])
        self.admin_address = _address(listening["admin"]) if "admin" in listening else None


def _address(listening: Mapping[str, object]) -> tuple[str, int]:
    return str(listening["host"]), int(str(listening["port"]))
