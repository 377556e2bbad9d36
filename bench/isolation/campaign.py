"""Every fault, one experiment after the other.

    python -m bench.isolation.campaign --out DIR [--faults crash-loop,flood] [--docs docs]

Bundles of all of them are left in DIR, each in the directory of its fault, with `results.json`.
With `--docs` the results replace those of the documentation; where DIR has results already, they
are taken as they are.
"""

from __future__ import annotations

import argparse
import secrets
import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, get_args

from msgspec.structs import replace
from rich.console import Console
from rich.table import Table

from bench.isolation import wording as w
from bench.isolation.command import CONVERSATIONS, RESULT_SECONDS, VICTIM_OF
from bench.isolation.experiment import Experiment
from bench.isolation.findings import FaultName, Findings
from bench.isolation.page import write_part
from bench.isolation.results import (
    ON_DISK,
    RESULTS,
    Outcome,
    Results,
    plot_of,
    plots_of,
    read_results,
    write_results,
)
from bench.isolation.results_page import page_on_disk, results_page
from bench.pages import wording as words
from bench.pages.surroundings import machine, versions
from bench.places import stores_of
from bench.relay_of_its_own import StartError
from bench.run import RunError

FAULTS: Final[tuple[FaultName, ...]] = get_args(FaultName)
PAGE: Final = "isolation.md"
PICTURES: Final = "isolation"
PART: Final = "results"
PART_ON_DISK: Final = "results on a disk"

Run = Callable[[Experiment, Path], Findings]
"""Does an experiment and leaves its bundle in the directory."""


def main() -> int:
    """The exit code: 0 if every fault stayed where it happened."""
    from bench.isolation.run import run

    arguments = _arguments()
    out: Path = arguments.out
    if arguments.docs is not None and (out / RESULTS).is_file():
        results = read_results(out)
    else:
        if out.exists() and any(out.iterdir()):
            _say(f"{out} is not empty: name a new directory with --out.")
            return 2
        try:
            results = campaign(_experiments(arguments), out, run)
        except RunError as error:
            _say(f"There is no measurement: {error}.")
            return 1
    print_results(results, out)
    if arguments.docs is not None:
        publish(results, out, arguments.docs)
    return 0 if results.ok else 1


def campaign(experiments: Sequence[Experiment], out: Path, run: Run) -> Results:
    """Do them in turn; what one concludes, or that it cannot be done, stops none of the others.

    The results so far are in the directory after each.

    Raises:
        RunError: there is no room in memory for the stores that are to be there.
        OSError: the directory cannot be written to.
    """
    out.mkdir(parents=True, exist_ok=True)
    ran_on = machine(stores_of(in_memory=experiments[0].in_memory))  # before anything else goes on
    results = Results(_now(), versions(), ran_on, ())
    for number, experiment in enumerate(experiments, 1):
        _say(f"{experiment.fault}: {number} of {len(experiments)}")
        outcome = _outcome(experiment, out / experiment.fault, run)
        results = replace(results, written_at=_now(), outcomes=(*results.outcomes, outcome))
        write_results(out, results)
    return results


def publish(results: Results, out: Path, docs: Path) -> None:
    """Put the results of a campaign in the place of those in the documentation.

    Those with the stores in memory are shown whole, those on a disk in one table.

    Raises:
        PageError: the page has no place for them.
        OSError: something cannot be read or written.
    """
    pictures = docs / PICTURES
    pictures.mkdir(exist_ok=True)
    if not results.in_memory:
        write_results(pictures, results, ON_DISK)
        write_part(docs / PAGE, PART_ON_DISK, page_on_disk(results))
        return
    for fault in FAULTS:
        for old in pictures.glob(f"{fault}.*"):
            old.unlink()
    for drawn, name in plots_of(results, out):
        shutil.copyfile(drawn, pictures / name)
    write_results(pictures, results)
    write_part(docs / PAGE, PART, results_page(results))


def command_of(experiment: Experiment) -> str:
    """What to type to have it done again, send by send."""
    words = ["ksmp-relay", "bench", "isolation", "--fault", experiment.fault]
    words += ["--conversations", str(experiment.conversations)]
    words += ["--victims", str(experiment.victims), "--seconds", f"{experiment.seconds:g}"]
    if experiment.rate_per_s is not None:
        words += ["--rate", f"{experiment.rate_per_s:g}"]
    words += ["--seed", str(experiment.seed)]
    words += ["--in-memory"] * experiment.in_memory + ["--quick"] * experiment.quick
    return shlex.join([*words, "--out", f"var/{experiment.fault}"])


def print_results(results: Results, out: Path) -> None:
    """On standard output: a line for each fault."""
    table = Table("fault", "conclusion", "ack p99", "worst", "victims' availability", "broken")
    for one in results.outcomes:
        if one.findings is None:
            table.add_row(one.fault, f"no measurement: {one.failure}")
        else:
            table.add_row(one.fault, *_row(one.findings))
    console = Console(highlight=False, markup=False)
    console.print(table)
    console.print(f"Everything is in {out}; results.json has the figures.", soft_wrap=True)


def _row(found: Findings) -> tuple[str, ...]:
    seen = found.bystanders
    p99, worst = w.of_bystanders(found, seen.fault_p99_ms), w.of_bystanders(found, seen.worst_ms)
    return (
        found.conclusion,
        f"{w.of_bystanders(found, seen.baseline_p99_ms)} → {p99} ≤ {w.bound(seen.allowed_p99_ms)}",
        f"{worst} ≤ {w.bound(seen.allowed_worst_ms)}",
        words.share(found.victims.availability),
        ", ".join(found.checker.violated) or "none",
    )


def _outcome(experiment: Experiment, bundle: Path, run: Run) -> Outcome:
    try:
        findings = run(experiment, bundle)
    except (StartError, RunError) as error:
        return Outcome(experiment, command_of(experiment), None, None, str(error))
    done = replace(experiment, rate_per_s=findings.rate_per_s)
    plot = plot_of(bundle)
    name = None if plot is None else f"{experiment.fault}{plot.suffix}"
    return Outcome(done, command_of(done), name, findings)


def _experiments(arguments: argparse.Namespace) -> list[Experiment]:
    return [
        Experiment(
            fault=fault,
            conversations=arguments.conversations,
            victims=max(1, arguments.conversations // VICTIM_OF),
            seconds=arguments.seconds,
            rate_per_s=arguments.rate,
            seed=secrets.randbelow(2**32) if arguments.seed is None else arguments.seed,
            quick=arguments.seconds < RESULT_SECONDS,
            in_memory=arguments.in_memory,
        )
        for fault in arguments.faults
    ]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=RESULT_SECONDS)
    parser.add_argument("--conversations", type=int, default=CONVERSATIONS)
    parser.add_argument("--rate", type=float, help="not given: half of what the relay can do")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--in-memory", action="store_true", help="keep the relays' stores there")
    parser.add_argument("--faults", type=_faults, default=FAULTS, help="with commas between them")
    parser.add_argument("--docs", type=Path)
    return parser.parse_args()


def _faults(words: str) -> tuple[FaultName, ...]:
    named = words.split(",")
    if unknown := [name for name in named if name not in FAULTS]:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: not of {', '.join(FAULTS)}")
    return tuple(fault for fault in FAULTS if fault in named)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _say(words: str) -> None:
    sys.stderr.write(f"{words}\n")


if __name__ == "__main__":
    sys.exit(main())
