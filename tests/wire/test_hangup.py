"""A terminal that is closed ends the relay that was started in it, in order; `nohup` forbids it."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.wire.relay_process import PROGRAM, REPOSITORY, START_SECONDS, STOP_SECONDS

IN_A_TERMINAL = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""

NOHUP = """
import os, signal, sys
signal.signal(signal.SIGHUP, signal.SIG_IGN)
os.execvp(sys.argv[1], sys.argv[1:])
"""


class Terminal:
    """A relay in the foreground of a terminal of its own."""

    def __init__(self, directory: Path, *launcher: str) -> None:
        self._log = directory / "stderr"
        self._screen, inside = pty.openpty()
        data, ports_file = directory / "data", directory / "ports.json"
        ports = ("--port", "0", "--admin-port", "0", "--ports-file", str(ports_file))
        arguments = ("--data", str(data), *ports)
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", IN_A_TERMINAL, *launcher, *PROGRAM, "serve", *arguments],
                cwd=REPOSITORY,
                stdin=inside,
                stdout=log,
                stderr=log,
            )
        os.close(inside)
        self.wait_until(ports_file.exists)

    def close(self) -> None:
        """What closing its window does."""
        os.close(self._screen)

    def has_printed(self, text: bytes) -> bool:
        return text in self._log.read_bytes()

    def wait_until(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not holds():
            assert self.process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.01)


@pytest.fixture
def in_a_terminal(tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    with ExitStack() as stack:
        yield lambda *launcher: stack.enter_context(_ended(Terminal(tmp_path, *launcher)))


@contextmanager
def _ended(terminal: Terminal) -> Iterator[Terminal]:
    try:
        yield terminal
    finally:
        terminal.process.kill()
        terminal.process.wait(STOP_SECONDS)


def test_closing_the_terminal_ends_the_relay_in_order(
    in_a_terminal: Callable[..., Terminal],
) -> None:
    terminal = in_a_terminal()
    terminal.close()

    assert terminal.process.wait(STOP_SECONDS) == 0
    assert terminal.has_printed(b"relay.stopped")


def test_in_an_open_terminal_a_hangup_reloads(in_a_terminal: Callable[..., Terminal]) -> None:
    terminal = in_a_terminal()
    terminal.process.send_signal(signal.SIGHUP)

    terminal.wait_until(lambda: terminal.has_printed(b"relay.reloaded"))


def test_under_nohup_closing_the_terminal_ends_nothing(
    in_a_terminal: Callable[..., Terminal],
) -> None:
    terminal = in_a_terminal(sys.executable, "-c", NOHUP)
    terminal.close()

    terminal.wait_until(lambda: terminal.has_printed(b"relay.reloaded"))
    terminal.process.send_signal(signal.SIGUSR1)
    terminal.wait_until(lambda: terminal.has_printed(b"relay.status"))
