"""What the ordering benchmark has measured, for people who read a terminal."""

from __future__ import annotations

from typing import Final

from rich.console import Console
from rich.table import Table

from bench.ordering import OrderingReport
from bench.plan import ShapeName
from bench.run import GENERATOR_BOUND
from bench.runs import RunsReport, Spread
from bench.telling import verdict_lines


def print_ordering(report: OrderingReport) -> None:
    """On standard output."""
    table = Table("", "per second", "p50 ms", "p99 ms", "p99.9 ms", title=_title(report))
    for column in table.columns[1:]:
        column.justify = "right"
    if isinstance(report, RunsReport):
        _add_medians(table, report)
    else:
        _add_figures(table, report)
    console = Console(highlight=False, markup=False)
    console.print(table)
    for line in _remarks(report):
        console.print(line, soft_wrap=True)


def _title(report: OrderingReport) -> str:
    load = f"{report.pairs} {_PAIRS[report.shape]} × {report.in_flight} in flight"
    more = "".join(
        (
            "" if report.conversations is None else f" over {report.conversations:,} conversations",
            "" if report.codec == "msgpack" else f", {report.codec}",
            f", commits held up {report.sync_delay_ms:g} ms" if report.sync_delay_ms else "",
            f", {len(report.runs)} runs" if isinstance(report, RunsReport) else "",
        )
    )
    return f"{load} × {report.size} bytes{more}, {report.seconds:g} s"


_PAIRS: Final[dict[ShapeName, str]] = {
    "pairs": "pairs",
    "hot": "pairs of devices in one conversation",
    "hub": "conversations of one user",
    "zipf": "pairs",
}


def _add_figures(table: Table, report: OrderingReport) -> None:
    for name, rate, latency in (
        ("acked", report.acked_per_s, report.ack_ms),
        ("delivered", report.delivered_per_s, report.delivery_ms),
    ):
        figures = (f"{value:,.2f}" for value in (latency.p50, latency.p99, latency.p999))
        table.add_row(name, f"{rate:,.0f}", *figures)


def _add_medians(table: Table, report: RunsReport) -> None:
    of = report.medians
    for name, rate, latency in (
        ("acked", of.acked_per_s, of.ack_ms),
        ("delivered", of.delivered_per_s, of.delivery_ms),
    ):
        figures = (_spread(value, 2) for value in (latency.p50, latency.p99, latency.p999))
        table.add_row(name, _spread(rate, 0), *figures)


def _spread(figure: Spread, digits: int) -> str:
    median, lowest, highest = (
        f"{one:,.{digits}f}" for one in (figure.median, figure.lowest, figure.highest)
    )
    return f"{median}\n{lowest} … {highest}"


def _remarks(report: OrderingReport) -> list[str]:
    if isinstance(report, RunsReport):
        return _remarks_on_runs(report)
    order = report.order
    relay = "unknown" if report.relay_cpu is None else f"{report.relay_cpu:.0%} of a core"
    faults = f"{order.gaps} gaps, {order.duplicates} duplicates, {order.reordered} reordered"
    lines = [
        f"Order: {order.checked:,} frames checked, {faults}, {order.chain_breaks} chain breaks.",
        f"CPU: relay {relay}, load generator {report.generator_cpu:.0%} of a core.",
    ]
    if report.generator_bound:
        lines.append(
            f"The load generator took more than {GENERATOR_BOUND:.0%} of a core:"
            " these figures are a lower bound."
        )
    if report.rate_limited or report.retried:
        lines.append(
            f"Sends repeated: {report.rate_limited} rate limited, {report.retried} otherwise."
        )
    if report.unanswered:
        lines.append(f"Sends without an answer at the end: {report.unanswered}.")
    if report.undelivered:
        lines.append(f"Messages that did not reach the other side: {report.undelivered}.")
    if not order.checked:
        lines.append("Nothing was checked.")
    return lines + list(verdict_lines(report.checker))


def _remarks_on_runs(report: RunsReport) -> list[str]:
    """Of every run that was not good, or of the first where all were."""
    bad = [one for one in report.runs if not one.is_good]
    bound = sum(one.generator_bound for one in report.runs)
    lines = ["Each figure is a median, with the lowest and the highest below it."]
    if bound:
        lines.append(f"In {bound} of {len(report.runs)} runs the load generator was the limit.")
    for one in bad or [report.runs[0]]:
        number = report.runs.index(one) + 1
        lines += [f"Run {number}:", *_remarks(one)]
    if not bad:
        lines.append(f"All {len(report.runs)} runs were judged, and all kept their promises.")
    return lines
