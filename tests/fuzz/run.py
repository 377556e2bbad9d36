"""`make fuzz`: all targets under the fuzzer, two at a time, for so many minutes in all.

What it finds out stays under `var/fuzz`: inputs that lead somewhere new, and those that break a
promise. It stops by itself; the exit code is 1 if any promise was broken.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import trio

from tests.fuzz.targets import TARGETS, Target

SECONDS_PER_INPUT: Final = 20
MEGABYTES: Final = 2_048
GRACE_SECONDS: Final = 60
MOST_BROKEN: Final = 20
_STATUS: Final = re.compile(r"cov: (\d+) ft: (\d+) corp: (\d+)")
_EXECUTIONS: Final = re.compile(r"stat::number_of_executed_units: (\d+)")


@dataclass(frozen=True)
class Outcome:
    """How one target fared."""

    target: Target
    exit_code: int
    executions: int
    branches: int
    inputs: int
    broken: tuple[Path, ...]
    log: Path

    @property
    def is_good(self) -> bool:
        """Whether it ran to its end, and every promise held."""
        return not self.exit_code and not self.broken and self.executions > 0


async def fuzz(target: Target, seconds: float, out: Path) -> Outcome:
    """Run one target for so long; again after each input that breaks it, up to `MOST_BROKEN`."""
    found, broken, log = out / target.name, out / "broken", out / f"{target.name}.log"
    found.mkdir(parents=True, exist_ok=True)
    broken.mkdir(exist_ok=True)
    before = set(broken.glob(f"{target.name}-*"))
    until, exit_code = trio.current_time() + seconds, 0
    with log.open("wb") as output:
        for _ in range(MOST_BROKEN):
            left = max(1, int(until - trio.current_time()))
            ended = await _run_once(target, left, found, broken, output)
            exit_code = exit_code or ended
            if ended == 0 or trio.current_time() >= until:
                break
    return _outcome(target, exit_code, set(broken.glob(f"{target.name}-*")) - before, log)


async def _run_once(
    target: Target, seconds: int, found: Path, broken: Path, output: BinaryIO
) -> int:
    """The exit code: 0 for a run to its end, -1 for one that had to be killed."""
    command = [
        *(sys.executable, "-m", "tests.fuzz.under_atheris", target.name),
        f"-max_total_time={seconds}",
        f"-timeout={SECONDS_PER_INPUT}",
        f"-rss_limit_mb={MEGABYTES}",
        f"-artifact_prefix={broken}/{target.name}-",
        *("-print_final_stats=1", "-detect_leaks=0", str(found), str(target.corpus)),
    ]
    with trio.move_on_after(seconds + GRACE_SECONDS):
        done = await trio.run_process(command, check=False, stdout=output, stderr=output)
        return done.returncode
    return -1


def _outcome(target: Target, exit_code: int, broken: set[Path], log: Path) -> Outcome:
    text = log.read_text(encoding="utf-8", errors="replace")
    statuses, executions = _STATUS.findall(text), _EXECUTIONS.findall(text)
    branches, _, inputs = map(int, statuses[-1]) if statuses else (0, 0, 0)
    return Outcome(
        target, exit_code, sum(map(int, executions)), branches, inputs, tuple(sorted(broken)), log
    )


async def fuzz_all(targets: list[Target], minutes: float, at_once: int, out: Path) -> list[Outcome]:
    """Run them for as many minutes in all as are given, each for its equal part."""
    seconds = max(1.0, minutes * 60 * min(at_once, len(targets)) / len(targets))
    room, outcomes = trio.CapacityLimiter(at_once), list[Outcome]()

    async def one(target: Target) -> None:
        async with room:
            outcomes.append(await fuzz(target, seconds, out))
            print(_line(outcomes[-1], seconds), flush=True)

    print(f"{len(targets)} targets, {seconds:.0f} s each, {at_once} at a time", flush=True)
    async with trio.open_nursery() as nursery:
        for target in targets:
            nursery.start_soon(one, target)
    return outcomes


def _line(outcome: Outcome, seconds: float) -> str:
    return (
        f"{outcome.target.name:<11} {outcome.executions:>11,} executions "
        f"({outcome.executions / seconds:>7,.0f}/s)  {outcome.branches:>6,} branches  "
        f"{outcome.inputs:>5,} inputs  {'ok' if outcome.is_good else 'BROKEN'}"
    )


def _explain(outcome: Outcome) -> None:
    name = outcome.target.name
    print(f"\n{name} ended with exit code {outcome.exit_code}; its output is in {outcome.log}")
    for path in outcome.broken:
        print(f"  {path} breaks a promise. Again:")
        print(f"  {sys.executable} -m tests.fuzz.replay {name} {path}")


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--at-once", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--out", type=Path, default=Path("var/fuzz"))
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, []], help="all, unless named")
    chosen = parser.parse_args()
    if not _has_atheris():
        print("The fuzzer, atheris, is not installed; there is a build of it for Python 3.11 only.")
        return 2
    targets = [TARGETS[name] for name in chosen.targets or TARGETS]
    outcomes = trio.run(fuzz_all, targets, chosen.minutes, chosen.at_once, chosen.out)
    bad = [outcome for outcome in outcomes if not outcome.is_good]
    for outcome in bad:
        _explain(outcome)
    return 1 if bad else 0


def _has_atheris() -> bool:
    probe = [sys.executable, "-c", "import atheris"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
