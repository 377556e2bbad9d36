"""Whoever types what docs/isolation.md shows, from the top, ends with a plot and a verdict."""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from bench.isolation.bundle import read_bundle
from bench.isolation.judging import ENOUGH, ISOLATION
from relay.exits import ExitCode
from tests.wire.relay_process import REPOSITORY

PAGE: Final = (REPOSITORY / "docs" / "isolation.md").read_text(encoding="utf-8")
CLONED: Final = ("Makefile", "pyproject.toml", "requirements.txt", "requirements-dev.txt")
PACKAGES: Final = ("ksmp", "storage", "actors", "relay", "bench")
SECONDS: Final = 300.0
"""A generous limit on each command."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # all of them take a hundred seconds

MAKEFILE: Final = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
SET_BY_MAKE: Final = {"MAKEFLAGS", *re.findall(r"^(\w+) \?=", MAKEFILE, re.MULTILINE)}
"""Where a make that has started the tests tells its own variables to those that it starts."""

LONG: Final = "var/second"
"""What takes a minute to make. While it is made, what does not need it is typed elsewhere."""

PICTURES: Final = tuple(
    f"{name}{suffix}"
    for name in ("latency", "distribution", "restarts")
    for suffix in (".svg", ".png")
)


def commands() -> list[str]:
    """Each command of the page, as it stands there."""
    blocks = re.findall(r"^```console\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return [
        command.strip() for block in blocks for command in re.split(r"^\$ ", block, flags=re.M)[1:]
    ]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone in which everything is installed: what is called is this very code."""
    directory = tmp_path_factory.mktemp("clone")
    for name in (*CLONED, *PACKAGES):
        (directory / name).symlink_to(REPOSITORY / name)
    programs = directory / ".venv" / "bin"
    programs.mkdir(parents=True)
    program = programs / "ksmp-relay"
    code = shlex.quote("import sys; sys.argv[0] = 'ksmp-relay'; from relay.cli import main; main()")
    program.write_text(
        f"#!/bin/sh\nPYTHONPATH={shlex.quote(str(REPOSITORY))}\nexport PYTHONPATH\n"
        f'exec {shlex.quote(sys.executable)} -c {code} "$@"\n'
    )
    program.chmod(0o755)
    (directory / ".venv" / ".installed").touch()  # newer than what is pinned
    return directory


@pytest.fixture(scope="module")
def typed(clone: Path) -> Path:
    """The clone after everything was typed, in three terminals, in the order of the page."""
    setup, *rest = commands()
    long, *about_it = [command for command in rest if LONG in command]
    finish(setup, begin(setup, clone))
    with terminals() as running:
        running.append(begin(long, clone))
        for command in rest:
            if " serve " in command:
                running.append(begin(command, clone))
                await_listener(command)
            elif LONG not in command:
                finish(command, begin(command, clone))
        finish(long, running[0])
        for command in about_it:
            finish(command, begin(command, clone))
    return clone


@contextmanager
def terminals() -> Iterator[list[subprocess.Popen[str]]]:
    """What still runs in them is ended with the block."""
    running: list[subprocess.Popen[str]] = []
    try:
        yield running
    finally:
        for process in running:
            if process.poll() is None:
                process.terminate()
                process.communicate(timeout=SECONDS)


def begin(command: str, directory: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["bash", "-c", command],
        cwd=directory,
        env={name: value for name, value in os.environ.items() if name not in SET_BY_MAKE},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(command: str, process: subprocess.Popen[str]) -> None:
    """It ends well; of what was measured on a busy machine, the answer may be no."""
    printed, _ = process.communicate(timeout=SECONDS)
    is_experiment = "bench isolation" in command or "bench rerun" in command
    may_be_no = is_experiment or f"check {LONG}" in command
    fine = {ExitCode.OK, ExitCode.FAILED} if may_be_no else {ExitCode.OK}
    assert process.returncode in fine, f"{command}\n{printed}"
    if is_experiment:
        assert re.search(r"(Conclusion: |conclusion )", printed), printed


def await_listener(command: str) -> None:
    found = re.search(r"--port (\d+)", command)
    assert found is not None
    deadline = time.monotonic() + 60
    while True:
        with socket.socket() as caller:
            if caller.connect_ex(("127.0.0.1", int(found[1]))) == 0:
                return
        assert time.monotonic() < deadline, "the relay does not listen"
        time.sleep(0.05)


@pytest.mark.parametrize("name", ["first", "first-rerun-1", "second"])
def test_an_experiment_leaves_a_whole_bundle_with_plots_report_and_conclusion(
    typed: Path, name: str
) -> None:
    bundle = read_bundle(typed / "var" / name)
    found = bundle.findings

    assert all((bundle.directory / picture).stat().st_size > 10_000 for picture in PICTURES)
    assert "<svg" in (bundle.directory / "report.html").read_text(encoding="utf-8")
    assert found.restarts > 0
    assert not found.unread
    assert found.checker.whole
    assert set(found.checker.violated) <= {ISOLATION}
    if name == "second":
        assert found.bystanders.samples >= ENOUGH
        assert found.conclusion in ("isolated", "not isolated")
    else:
        assert found.conclusion == "quick run, no result"


def test_ones_own_fault_was_committed_and_its_history_is_good(typed: Path) -> None:
    judged = subprocess.run(
        [".venv/bin/ksmp-relay", "check", "var/own.history", "--json"],
        cwd=typed,
        capture_output=True,
        timeout=SECONDS,
        check=True,
    )
    report = json.loads(judged.stdout)

    assert report["ok"]
    assert report["sends"] > 10


def test_nothing_had_to_be_installed(typed: Path) -> None:
    assert (typed / ".venv" / ".installed").exists()
    assert not (typed / ".venv" / "pyvenv.cfg").exists()
