"""Each relay that is broken on purpose serves, and lacks just what its name says."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from bench.checker.check import check
from bench.isolation.experiment import Experiment
from bench.isolation.run import run
from tests.isolation.broken_relay import BREAKS
from tests.isolation.proof import broken_relay
from tests.wire.relay_process import REPOSITORY

REPLACED = {
    "supervisor-escalating": {"actors.router.Router._quarantine"},
    "mailbox-unbounded": {"actors.mailbox.Mailbox.__init__"},
    "deliverer-shared": {
        "actors.connection.Connection._deliver",
        "actors.connection.Connection._pump",
    },
}
"""Break → the seams that it replaces."""

SEAMS = sorted(set().union(*REPLACED.values()))
"""All of them: what a break does not replace it leaves as it is."""


@pytest.mark.parametrize("broken", BREAKS)
def test_a_break_replaces_what_it_says_and_nothing_that_another_does(broken: str) -> None:
    """In a process of its own: what is broken here stays broken."""
    program = f"""
        from importlib import import_module
        from tests.isolation.broken_relay import BREAKS

        def found(seam):
            module, kind, name = seam.rsplit(".", 2)
            return vars(getattr(import_module(module), kind))[name]

        seams = {SEAMS}
        before = [found(seam) for seam in seams]
        BREAKS[{broken!r}]()
        print(*(seam for seam, was in zip(seams, before) if found(seam) is not was))
        """
    printed = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout

    assert set(printed.split()) == REPLACED[broken]


@pytest.mark.parametrize("broken", BREAKS)
def test_a_broken_relay_serves_whom_no_fault_strikes(broken: str, tmp_path: Path) -> None:
    experiment = Experiment("slow-sync", 4, 1, 3.0, 40.0, seed=1, quick=True, slower_ms=1)
    found = run(experiment, tmp_path / "out", program=broken_relay(broken))

    assert found.ok, found.checker.violated
    assert found.checker.frames > 200


def test_a_relay_that_ends_is_measured_to_the_end_and_said_to_be_gone(tmp_path: Path) -> None:
    experiment = Experiment("crash-loop", 10, 2, 6.0, 150.0, seed=1, quick=True)
    out = tmp_path / "out"
    found = run(experiment, out, program=broken_relay("supervisor-escalating"))
    moments = (out / "moments.json").read_text()

    assert found.unread == 20
    assert not found.ok
    assert found.checker.whole
    assert set(found.checker.violated) == {"I17"}
    assert "I1" in found.checker.not_exercised
    assert found.bystanders.fault_p99_ms is None
    assert found.bystanders.samples > 200
    assert moments.count('"stopped"') == 1
    assert check(out / "history") == found.checker
