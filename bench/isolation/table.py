"""The findings of an experiment, for people who read a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.checker.printing import excerpt_lines
from bench.isolation import wording as w
from bench.isolation.findings import Findings
from bench.pages import wording as words
from bench.run import GENERATOR_BOUND


def print_findings(findings: Findings, out: Path) -> None:
    """On standard output: the conclusion, the latencies, then what there is to say of the rest."""
    console = Console(highlight=False, markup=False)
    console.print(_latencies(findings))
    for line in _remarks(findings):
        console.print(line, soft_wrap=True)
    console.print(f"Everything is in {out}; report.html shows it.", soft_wrap=True)


def _latencies(findings: Findings) -> Table:
    title = (
        f"{findings.fault}, {findings.victims.conversations} of {findings.conversations}"
        f" conversations struck, {findings.rate_per_s:,.0f} sends per second"
    )
    table = Table("time until the ack", "p50", "p99", "worst", "delivery p99", title=title)
    for column in table.columns[1:]:
        column.justify = "right"
    seen, victims = findings.bystanders, findings.victims

    def of(*latencies_ms: float | None) -> Iterator[str]:
        return (w.of_bystanders(findings, one) for one in latencies_ms)

    baseline = seen.baseline_p50_ms, seen.baseline_p99_ms, seen.baseline_worst_ms
    struck = seen.fault_p50_ms, seen.fault_p99_ms, seen.worst_ms
    table.add_row("bystanders, baseline", *of(*baseline, seen.delivery_baseline_p99_ms))
    table.add_row("bystanders, fault", *of(*struck, seen.delivery_fault_p99_ms))
    table.add_row("allowed", "", w.bound(seen.allowed_p99_ms), w.bound(seen.allowed_worst_ms), "")
    if victims.sends:
        table.add_row("victims, fault", "", words.latency(victims.fault_p99_ms), "", "")
    return table


def _remarks(findings: Findings) -> Iterator[str]:
    yield f"Conclusion: {findings.conclusion} ({findings.bystanders.samples:,} samples)."
    if findings.unread:
        yield f"{w.unread(findings)}."
    yield from _of_victims(findings)
    restart = findings.time_to_restart
    half = words.if_seen(restart.p50_ms)
    took = "" if restart.p50_ms is None else f", half of them within {half}"
    yield (
        f"Restarts: {findings.restarts:,}{took}; quarantines: {findings.quarantines:,};"
        f" dead letters: {findings.dead_letters:,}."
    )
    yield from _of_cost(findings)
    broken = findings.checker.violated
    yield f"Promises broken: {', '.join(broken) or 'none'}."
    for verdict in findings.checker.verdicts:
        if verdict.excerpt:
            yield from excerpt_lines(verdict)
    yield f"Seed: {findings.seed}."


def _of_victims(findings: Findings) -> Iterator[str]:
    victims = findings.victims
    if victims.availability is None:
        return
    recovery = victims.recovery_ms
    yield (
        f"Victims: {words.share(victims.availability)} of {victims.sends:,} sends acked within a"
        f" second, {victims.acked:,} in the end, {victims.refused:,} refusals; "
        + (
            "not all of them were acked again before the end."
            if recovery is None
            else f"all acked again {words.latency(recovery)} after the fault."
        )
    )


def _of_cost(findings: Findings) -> Iterator[str]:
    relay = "unknown" if findings.relay_cpu is None else f"{findings.relay_cpu:.0%} of a core"
    flood = findings.flooder_cpu
    flooders = "" if flood is None else f", flooders {flood:.0%}"
    yield f"CPU: relay {relay}, load generator {findings.generator_cpu:.0%}{flooders}."
    if findings.generator_cpu > GENERATOR_BOUND:
        yield (
            f"The load generator took more than {GENERATOR_BOUND:.0%} of a core:"
            " some of the latency is its own. Give a lower --rate."
        )
    if findings.saturation_per_s is not None:
        yield f"Saturation: {findings.saturation_per_s:,.0f} per second."
