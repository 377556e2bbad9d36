"""Runs a generator process and watches it: its reports, and what the server cost meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

from msgspec import Struct
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from bench import plan as plans
from bench.plan import Measured, Plan, Refused, Started, Stopped
from bench.running import running

GENERATOR_BOUND: Final = 0.8
"""Above this share of a core the generator may be what is measured."""

PACKAGES: Final = Path(__file__).parents[1]
"""Where Python runs in the processes started here: it finds this very code, and not a stranger's
of the same name in the directory a person happens to be in."""

ENDED_EARLY: Final = "the load generator ended without a result"


class RunError(Exception):
    """There is no measurement; the message says why."""


class Run(NamedTuple):
    """What the generator measured, and the server's CPU time meanwhile in shares of a core."""

    measured: Measured
    server_cpu: float | None

    @property
    def is_generator_bound(self) -> bool:
        """Whether the generator was too busy for its figures to say much about the server."""
        return self.measured.generator_cpu > GENERATOR_BOUND


def run_generator(module: str, plan: Plan, server_pid: int | None, title: str) -> Run:
    """Run `python -m module` on this plan to its end, with a progress bar on a terminal.

    Raises:
        RunError: the generator could not measure.
    """
    cpu = ServerCpu(server_pid)
    with generator(module, plan) as lines, progress_bar(title) as show:
        for line in lines:
            match plans.decode_report(line):
                case plans.Progress() as progress:
                    show(progress)
                case Started():
                    cpu.begin()
                case Stopped():
                    cpu.end()
                case Measured() as measured:
                    return Run(measured, cpu.share)
                case Refused(reason=reason):
                    raise RunError(reason)
    raise RunError(ENDED_EARLY)


@contextmanager
def generator(module: str, plan: Struct) -> Iterator[Iterable[bytes]]:
    """A process that runs `python -m module` on this plan; the lines it reports."""
    with running(
        [sys.executable, "-m", module],
        cwd=PACKAGES,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        end=subprocess.Popen.kill,  # it has nothing to put in order
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(BrokenPipeError):  # it has ended already: there will be no report
            process.stdin.write(plans.encode(plan) + b"\n")
            process.stdin.close()
        yield process.stdout


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[plans.Progress], None]]:
    """Shows what it is given, on a terminal; elsewhere nothing."""
    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[step]}"),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as bar:
        task = bar.add_task(title, total=1.0, step="starting")
        yield lambda progress: bar.update(
            task, completed=progress.done, total=progress.total, step=progress.step
        )


@contextmanager
def judging_bar() -> Iterator[Callable[[float], None]]:
    """Shows how much of a history is judged, on a terminal."""
    with progress_bar("checker") as show:
        yield lambda share: show(plans.Progress("judging what was seen", share, 1.0))


class ServerCpu:
    """The share of a core that all threads of a process took; None where nobody can tell."""

    def __init__(self, pid: int | None) -> None:
        self._stat = None if pid is None else Path(f"/proc/{pid}/stat")
        self._began = self._cpu = 0.0
        self.share: float | None = None

    def begin(self) -> None:
        """From now on it counts."""
        self._began, self._cpu = time.monotonic(), self._seconds() or 0.0

    def end(self) -> None:
        """Up to now it has counted."""
        seconds = self._seconds()
        if seconds is not None:
            self.share = round((seconds - self._cpu) / (time.monotonic() - self._began), 3)

    def _seconds(self) -> float | None:
        if self._stat is None:
            return None
        try:
            # The second field is the program's name, in brackets and with any character in it.
            fields = self._stat.read_text().rpartition(")")[2].split()
        except OSError:
            return None
        user, system = int(fields[11]), int(fields[12])
        return (user + system) / os.sysconf("SC_CLK_TCK")
