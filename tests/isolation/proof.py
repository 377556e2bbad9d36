"""Does the isolation experiment notice when isolation is broken?

    python -m tests.isolation.proof --out DIR [--seconds 60] [--docs docs]

Each break of `broken_relay` is put to the fault that it should not withstand, and beside it the
relay as it is to the same fault, from the same seed. The experiment must call the one isolated and
the other not. Bundles of all of them are left in the directory, with `proof.json`. With `--docs`
the proof replaces that of the documentation; where the directory has one already, it is taken.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

import msgspec
from msgspec import Struct
from rich.console import Console
from rich.table import Table

from bench.isolation import wording as w
from bench.isolation.campaign import PAGE, PICTURES
from bench.isolation.command import RESULT_SECONDS
from bench.isolation.experiment import Experiment
from bench.isolation.findings import Conclusion, FaultName, Findings
from bench.isolation.page import write_part
from bench.pages import wording as words
from bench.relay_of_its_own import PROGRAM, StartError
from bench.run import RunError

SHOWN_BY: Final[Mapping[str, FaultName]] = {
    "supervisor-escalating": "crash-loop",
    "mailbox-unbounded": "stuck-actor",
    "deliverer-shared": "stuck-reader",
}
"""Each break, and the fault that shows it."""

CONVERSATIONS: Final = 200
RATE_PER_S: Final = 600.0
SEED: Final = 20

PROOF: Final = "proof.json"
PART: Final = "proof"


class Found(Struct, frozen=True):
    """What one experiment has said; `failure` where it could not measure."""

    conclusion: Conclusion | None
    baseline_p99_ms: float | None = None
    fault_p99_ms: float | None = None
    allowed_p99_ms: float | None = None
    baseline_worst_ms: float | None = None
    worst_ms: float | None = None
    allowed_worst_ms: float | None = None
    unread: int = 0
    violated: tuple[str, ...] = ()
    failure: str | None = None


class Shown(Struct, frozen=True):
    """One break: what the experiment said of the relay as it is, and of the broken one."""

    broken: str
    experiment: Experiment
    whole_relay: Found
    broken_relay: Found

    @property
    def is_proven(self) -> bool:
        """Whether the experiment tells the two apart."""
        return (
            self.whole_relay.conclusion == "isolated"
            and self.broken_relay.conclusion == "not isolated"
        )


class Run(Protocol):
    """Does an experiment on a relay, and leaves its bundle in the directory."""

    def __call__(
        self, experiment: Experiment, directory: Path, *, program: Sequence[str]
    ) -> Findings:
        """What it has shown."""


def main() -> int:
    """The exit code: 0 if every break was noticed and nothing else was."""
    from bench.isolation.run import run

    arguments = _arguments()
    out: Path = arguments.out
    if arguments.docs is not None and (out / PROOF).is_file():
        shown = read_proof(out)
    elif out.exists() and any(out.iterdir()):
        sys.stderr.write(f"{out} is not empty: name a new directory with --out.\n")
        return 2
    else:
        shown = prove(out, arguments.seconds, run)
    print_proof(shown)
    if arguments.docs is not None:
        publish(shown, arguments.docs)
    return 0 if all(one.is_proven for one in shown) else 1


def prove(out: Path, seconds: float, run: Run) -> list[Shown]:
    """Every break in turn; what was shown so far is in the directory after each."""
    out.mkdir(parents=True, exist_ok=True)
    shown: list[Shown] = []
    for broken, fault in SHOWN_BY.items():
        experiment = experiment_of(fault, seconds)
        sys.stderr.write(f"{fault}: the relay as it is, then {broken}\n")
        whole = _found(run, experiment, out / fault, PROGRAM)
        struck = _found(run, experiment, out / broken, broken_relay(broken))
        shown.append(Shown(broken, experiment, whole, struck))
        write_proof(out, shown)
    return shown


def broken_relay(broken: str) -> Sequence[str]:
    """The program of a relay that is broken in this way."""
    return (sys.executable, "-m", "tests.isolation.broken_relay", broken)


def experiment_of(fault: FaultName, seconds: float) -> Experiment:
    """The same for the relay as it is and for the broken one."""
    return Experiment(
        fault=fault,
        conversations=CONVERSATIONS,
        victims=CONVERSATIONS // 40,
        seconds=seconds,
        rate_per_s=RATE_PER_S,
        seed=SEED,
        quick=seconds < RESULT_SECONDS,
        in_memory=True,  # what a disk does by itself breaks nothing on purpose
    )


def _found(run: Run, experiment: Experiment, bundle: Path, program: Sequence[str]) -> Found:
    try:
        findings = run(experiment, bundle, program=program)
    except (StartError, RunError) as error:
        return Found(None, failure=str(error))
    seen = findings.bystanders
    return Found(
        conclusion=findings.conclusion,
        baseline_p99_ms=seen.baseline_p99_ms,
        fault_p99_ms=seen.fault_p99_ms,
        allowed_p99_ms=seen.allowed_p99_ms,
        baseline_worst_ms=seen.baseline_worst_ms,
        worst_ms=seen.worst_ms,
        allowed_worst_ms=seen.allowed_worst_ms,
        unread=findings.unread,
        violated=findings.checker.violated,
    )


# ── the proof, kept and shown ────────────────────────────────────────────────────────────────────


def read_proof(directory: Path) -> list[Shown]:
    """The proof in a directory."""
    return msgspec.json.decode((directory / PROOF).read_bytes(), type=list[Shown])


def write_proof(directory: Path, shown: Sequence[Shown]) -> None:
    """Leave it there, for people to read as well."""
    text = msgspec.json.format(msgspec.json.encode(shown), indent=1)
    (directory / PROOF).write_bytes(text + b"\n")


def publish(shown: Sequence[Shown], docs: Path) -> None:
    """Put the proof in the place of the one in the documentation."""
    (docs / PICTURES).mkdir(exist_ok=True)
    write_proof(docs / PICTURES, shown)
    write_part(docs / PAGE, PART, proof_page(shown))


def proof_page(shown: Sequence[Shown]) -> str:
    """The text: what the experiments were, and a table of what they have said."""
    done = shown[0].experiment
    intro = (
        f"Each experiment was of {done.conversations} conversations, {done.victims} of them struck,"
        f" {done.rate_per_s:g} sends per second and {done.seconds:g} seconds. Of both relays: the"
        " conclusion, the bystanders' ack p99 before and in the fault, and what is allowed."
        f" The figures are in [{PROOF}]({PICTURES}/{PROOF})."
    )
    head = "| broken | fault | the relay as it is | the broken one | promises broken by it |"
    rows = (
        f"| `{one.broken}` | `{one.experiment.fault}` | {_words(one.whole_relay)}"
        f" | {_words(one.broken_relay)} | {_broken(one)} |"
        for one in shown
    )
    return "\n".join((intro, "", head, "| --- | --- | --- | --- | --- |", *rows))


def print_proof(shown: Sequence[Shown]) -> None:
    """On standard output."""
    table = Table("broken", "fault", "the relay as it is", "the broken one", "promises broken")
    for one in shown:
        whole, struck = _words(one.whole_relay), _words(one.broken_relay)
        table.add_row(one.broken, one.experiment.fault, whole, struck, _broken(one))
    console = Console(highlight=False, markup=False)
    console.print(table)
    for one in shown:
        if not one.is_proven:
            console.print(f"{one.broken}: the experiment does not tell the two apart.")


def _broken(shown: Shown) -> str:
    return ", ".join(shown.broken_relay.violated) or "none"


def _words(found: Found) -> str:
    if found.conclusion is None:
        return f"no measurement: {found.failure}"
    gone = "; at the end the relay was gone" if found.unread else ""
    return (
        f"{found.conclusion}: {words.latency(found.baseline_p99_ms)} →"
        f" {words.latency(found.fault_p99_ms)}, allowed {w.bound(found.allowed_p99_ms)}{gone}"
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=RESULT_SECONDS)
    parser.add_argument("--docs", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
