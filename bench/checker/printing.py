"""A report for people: a table of the promises, then what contradicts them."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table

from bench.checker.check import Report
from bench.checker.verdict import Verdict


def print_report(report: Report) -> None:
    """Print a report on standard output."""
    console = Console(highlight=False, markup=False)
    table = Table("", "promise", "examined", "verdict", title=_title(report))
    table.columns[2].justify = "right"
    for verdict in report.verdicts:
        table.add_row(verdict.invariant, verdict.promise, f"{verdict.examined:,}", verdict.verdict)
    console.print(table)
    for line in _remarks(report):
        console.print(line, soft_wrap=True)


def _title(report: Report) -> str:
    seed = "" if report.seed is None else f", seed {report.seed}"
    return (
        f"Relay {report.relay}{seed}: {report.sends:,} sends, {report.frames:,} frames,"
        f" {report.restarts} restarts in {report.seconds:,.1f} s"
    )


def _remarks(report: Report) -> Iterator[str]:
    for verdict in report.verdicts:
        if verdict.excerpt:
            yield from excerpt_lines(verdict)
    if not report.whole:
        yield "The history is cut off: its recording did not end, so this is no good verdict."
    if report.not_exercised:
        yield f"Not exercised: {', '.join(report.not_exercised)}."
    yield "Nothing contradicts the promises." if report.ok else "The history is not good."


def excerpt_lines(verdict: Verdict) -> Iterator[str]:
    """A promise that was broken, and the records that show it."""
    times = "once" if verdict.violations == 1 else f"{verdict.violations:,} times"
    yield f"{verdict.invariant} is violated, {times}. {verdict.promise}"
    for line in verdict.excerpt:
        yield f"  {line}"
