"""`ksmp-relay bench`: how fast a relay is, what it costs, and whether it keeps its promises."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

from cyclopts import App, Parameter, validators
from rich.console import Console
from rich.table import Table

from bench.checker.check import Report
from bench.checker.printing import excerpt_lines
from bench.idle import KEEPALIVE_ROUNDS, IdleReport, measure_idle
from bench.isolation.command import isolation
from bench.offered.command import latency
from bench.ordering import OrderingReport, Shape, measure_own_relay, measure_relay_at
from bench.relay_of_its_own import LIFTED
from bench.run import GENERATOR_BOUND
from bench.telling import measuring, print_json
from relay.exits import CommandError, ExitCode

_POSITIVE: Final = validators.Number(gte=1)

app = App(name="bench", help="Measure a relay, and check what it promises while it is loaded.")
app.command(isolation)
app.command(latency)
app.command("bench.isolation.rerun:rerun", help="Repeat an isolation experiment from its bundle.")
app.command("bench.isolation.rerun:report", help="Draw the report of a bundle again.")


@app.command
def ordering(
    *,
    pairs: Annotated[int, Parameter(validator=_POSITIVE)] = 16,
    in_flight: Annotated[int, Parameter(validator=_POSITIVE)] = 16,
    size: Annotated[int, Parameter(validator=_POSITIVE)] = 256,
    seconds: Annotated[float, Parameter(validator=validators.Number(gt=0, lte=3_600))] = 10.0,
    warm_up: Annotated[float, Parameter(validator=validators.Number(gte=0, lte=600))] = 2.0,
    url: str | None = None,
    tokens: Annotated[Path | None, Parameter(validator=validators.Path(exists=True))] = None,
    history: Path | None = None,
    json: bool = False,
) -> int:
    """Load a relay with pairs of users, and judge what all of them saw.

    Without --url it starts a relay of its own on an empty store, with the limits on senders lifted.
    At the end every inbox is read once more. Exits with 1 when a message was lost, doubled or out
    of order, a chain was broken, or anything else was seen that contradicts the protocol.

    Parameters
    ----------
    pairs
        Pairs of users; both sides send. Each user has one connection.
    in_flight
        Sends that each side keeps unacked.
    size
        Bytes of ciphertext in each message.
    seconds
        How long to measure.
    warm_up
        Seconds of load before that.
    url
        A relay that runs already, such as ws://127.0.0.1:8765/ksmp/v3; needs --tokens.
    tokens
        A file with one token a line, two for each pair, in pair order.
    history
        Keep what was recorded in this file, for `ksmp-relay check`.
    json
        Print JSON on standard output instead of a table.
    """
    _require_both_or_neither(url, tokens)
    shape = Shape(pairs, in_flight, size, seconds, warm_up)
    with measuring():
        if url is None or tokens is None:
            _say_what_is_lifted()
            report = measure_own_relay(shape, history)
        else:
            report = measure_relay_at(url, tokens, shape, history)
    if json:
        print_json(report)
    else:
        _print_table(report)
    return ExitCode.OK if report.is_good else ExitCode.FAILED


@app.command
def idle(
    *,
    connections: Annotated[int, Parameter(validator=_POSITIVE)] = 10_000,
    seconds: Annotated[float, Parameter(validator=validators.Number(gte=1, lte=3_600))] = 60.0,
    json: bool = False,
) -> int:
    """Open connections that say nothing, and tell what each costs the relay in memory.

    It starts a relay of its own on an empty store. Each connection is of another user, and answers
    pings; the keep-alive is so short that each gets at least two. Exits with 1 when a connection
    was lost.

    Parameters
    ----------
    connections
        How many.
    seconds
        How long they stay silent.
    json
        Print JSON on standard output instead of lines.
    """
    with measuring():
        _say_what_is_lifted()
        report = measure_idle(connections, seconds)
    if json:
        print_json(report)
    else:
        _print_idle(report)
    return ExitCode.OK if report.is_good else ExitCode.FAILED


def _require_both_or_neither(url: str | None, tokens: Path | None) -> None:
    if (url is None) != (tokens is None):
        raise CommandError(
            ExitCode.USAGE,
            "This cannot be measured",
            "--url and --tokens belong together",
            "Give both, or neither to measure a relay started for it.",
        )


def _print_idle(report: IdleReport) -> None:
    there, lost = report.still_connected, report.connections - report.still_connected
    before, after = report.relay_rss_before_kib / 1_024, report.relay_rss_after_kib / 1_024
    opened = f"{report.connections:,} opened, {report.handshakes_per_s:,.0f} per second"
    pings = f"each connection has answered at least {report.keepalive_rounds}"
    lines = [
        f"Connections: {opened}; {there:,} still there after {report.seconds:g} s.",
        f"Memory per connection: {report.kib_per_connection:.1f} KiB.",
        f"Memory of the relay: {before:,.1f} MiB before, {after:,.1f} MiB with them.",
        f"A ping after {report.keepalive_seconds:g} s of silence: {pings}.",
    ]
    if lost:
        lines.append(f"Lost: {lost:,}.")
    if report.keepalive_rounds < KEEPALIVE_ROUNDS:
        lines.append("Too few pings to tell whether the connections would stay.")
    console = Console(highlight=False)
    for line in lines:
        console.print(line, soft_wrap=True)


def _say_what_is_lifted() -> None:
    lifted = ", ".join(name.removeprefix("KSMP_LIMITS__").lower() for name in LIFTED)
    Console(stderr=True).print(
        f"Starting a relay on an empty store, with these limits lifted: {lifted}.", soft_wrap=True
    )


def _print_table(report: OrderingReport) -> None:
    title = (
        f"{report.pairs} pairs × {report.in_flight} in flight × {report.size} bytes,"
        f" {report.seconds:g} s"
    )
    table = Table("", "per second", "p50 ms", "p99 ms", "p99.9 ms", title=title)
    for column in table.columns[1:]:
        column.justify = "right"
    for name, rate, taken in (
        ("acked", report.acked_per_s, report.ack_ms),
        ("delivered", report.delivered_per_s, report.delivery_ms),
    ):
        figures = (f"{value:,.2f}" for value in (taken.p50, taken.p99, taken.p999))
        table.add_row(name, f"{rate:,.0f}", *figures)
    console = Console(highlight=False, markup=False)
    console.print(table)
    for line in _remarks(report):
        console.print(line, soft_wrap=True)


def _remarks(report: OrderingReport) -> list[str]:
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
    return lines + list(_promises(report.checker))


def _promises(checked: Report) -> Iterator[str]:
    """Which promises were put to the test, and what contradicts them."""
    kept = [one.invariant for one in checked.verdicts if one.verdict == "ok"]
    rest = ", ".join(checked.not_exercised) or "none"
    yield f"Promises kept: {', '.join(kept) or 'none'}. Not exercised: {rest}."
    for verdict in checked.verdicts:
        if verdict.excerpt:
            yield from excerpt_lines(verdict)
