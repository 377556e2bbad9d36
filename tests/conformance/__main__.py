"""`python -m tests.conformance`: play everything, print what came of it; 1 if a case went wrong.

`--table` prints the table of docs/conformance.md instead.
"""

from __future__ import annotations

import sys
import time
from collections import Counter

import trio

from tests.conformance.outcomes import (
    CASES_BY_SECTION,
    INFORMATIONAL,
    NON_STRICT,
    OK,
    SUBJECTS,
    UNIMPLEMENTED,
    Subject,
    count_by_section,
    table,
    wrong,
)
from tests.conformance.playing import Run, play_everything


def summary(run: Run, failed: frozenset[str]) -> str:
    """Lines of how many cases of each section ended how."""
    lines = ["  section  cases     ok  non-strict  informational  unimplemented  failed"]
    for section in (*CASES_BY_SECTION, "all"):
        outcomes = [outcome for outcome in run.outcomes if section in (outcome.section, "all")]
        right = Counter(outcome.behavior for outcome in outcomes if outcome.case not in failed)
        lines.append(
            f"{section:>9}{len(outcomes):>7}{right[OK]:>7}{right[NON_STRICT]:>12}"
            f"{right[INFORMATIONAL]:>15}{right[UNIMPLEMENTED]:>15}"
            f"{len(outcomes) - right.total():>8}"
        )
    return "\n".join(lines)


def play_and_tell(subject: Subject) -> bool:
    """Play everything on one of the transports; whether all is as it should be."""
    started = time.monotonic()
    run = trio.run(play_everything, subject)
    failed = wrong(run.outcomes, subject)
    print(f"{subject}, {time.monotonic() - started:.1f} s")
    print(summary(run, frozenset(outcome.case for outcome in failed)))
    for outcome in failed:
        print(f"  failed: {outcome}")
    if run.repeated:
        print(f"  played again, because the suite ran out of patience: {', '.join(run.repeated)}")
    is_complete = count_by_section(run.outcomes) == CASES_BY_SECTION
    if not is_complete:
        print("  not every case was played")
    return is_complete and not failed


def main(*arguments: str) -> int:
    if arguments == ("--table",):
        print(table())
        return 0
    verdicts = [play_and_tell(subject) for subject in SUBJECTS]
    return 0 if all(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
