"""Does the isolation experiment notice when isolation is broken?

    python -m tests.isolation.proof --out DIR [--seconds 60]

Each break of `broken_relay` is put to the fault that it should not withstand, and beside it the
relay as it is to the same fault, from the same seed. The experiment must call the one isolated and
the other not. Bundles of all of them are left in the directory, with `proof.json`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct
from rich.console import Console
from rich.table import Table

from bench.isolation.experiment import Experiment
from bench.isolation.findings import FaultName, Findings
from bench.isolation.run import run

WITHSTOOD_BY: Final[dict[str, FaultName]] = {
    "supervisor-escalating": "crash-loop",
    "mailbox-unbounded": "stuck-actor",
    "deliverer-shared": "stuck-reader",
}
"""Each break, and the fault that shows it."""

CONVERSATIONS: Final = 200
RATE_PER_S: Final = 600.0
SEED: Final = 20


class Shown(Struct, frozen=True):
    """One break: what the experiment said of the relay as it is, and of the broken one."""

    broken: str
    fault: FaultName
    whole_conclusion: str
    whole_baseline_p99_ms: float | None
    whole_fault_p99_ms: float | None
    broken_conclusion: str
    broken_baseline_p99_ms: float | None
    broken_fault_p99_ms: float | None
    broken_promises: tuple[str, ...]

    @property
    def is_proven(self) -> bool:
        """Whether the experiment tells the two apart."""
        return self.whole_conclusion == "isolated" and self.broken_conclusion == "not isolated"


def main() -> int:
    """The exit code: 0 if every break was noticed and nothing else was."""
    arguments = _arguments()
    shown = []
    for broken, fault in WITHSTOOD_BY.items():
        experiment = _experiment(fault, arguments.seconds)
        whole = run(experiment, arguments.out / fault)
        struck = run(experiment, arguments.out / broken, program=broken_relay(broken))
        shown.append(_shown(broken, whole, struck))
    (arguments.out / "proof.json").write_bytes(
        msgspec.json.format(msgspec.json.encode(shown)) + b"\n"
    )
    _print(shown)
    return 0 if all(one.is_proven for one in shown) else 1


def broken_relay(broken: str) -> Sequence[str]:
    """The program of a relay that is broken in this way."""
    return (sys.executable, "-m", "tests.isolation.broken_relay", broken)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=60.0)
    return parser.parse_args()


def _experiment(fault: FaultName, seconds: float) -> Experiment:
    return Experiment(
        fault=fault,
        conversations=CONVERSATIONS,
        victims=CONVERSATIONS // 40,
        seconds=seconds,
        rate_per_s=RATE_PER_S,
        seed=SEED,
        quick=False,
    )


def _shown(broken: str, whole: Findings, struck: Findings) -> Shown:
    return Shown(
        broken=broken,
        fault=whole.fault,
        whole_conclusion=whole.conclusion,
        whole_baseline_p99_ms=whole.bystanders.baseline_p99_ms,
        whole_fault_p99_ms=whole.bystanders.fault_p99_ms,
        broken_conclusion=struck.conclusion,
        broken_baseline_p99_ms=struck.bystanders.baseline_p99_ms,
        broken_fault_p99_ms=struck.bystanders.fault_p99_ms,
        broken_promises=struck.checker.violated,
    )


def _print(shown: Sequence[Shown]) -> None:
    table = Table("broken", "fault", "the relay as it is", "the broken one", "promises broken")
    for one in shown:
        table.add_row(
            one.broken,
            one.fault,
            f"{one.whole_conclusion}: p99 {_ms(one.whole_baseline_p99_ms)}"
            f" → {_ms(one.whole_fault_p99_ms)}",
            f"{one.broken_conclusion}: p99 {_ms(one.broken_baseline_p99_ms)}"
            f" → {_ms(one.broken_fault_p99_ms)}",
            ", ".join(one.broken_promises),
        )
    console = Console(highlight=False)
    console.print(table)
    for one in shown:
        if not one.is_proven:
            console.print(f"{one.broken}: the experiment does not tell the two apart.")


def _ms(value: float | None) -> str:
    return "never" if value is None else f"{value:,.1f} ms"


if __name__ == "__main__":
    sys.exit(main())
