"""`ksmp-relay bench idle`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

from cyclopts import Parameter, validators

from bench.idle import (
    DEFAULT_KEEPALIVE_SECONDS,
    KEEPALIVE_ROUNDS,
    SECONDS,
    IdleReport,
    Window,
    measure_idle,
)
from bench.pages.result import command_line
from bench.relay_of_its_own import LIFTED
from bench.telling import measured, print_lines, say_what_is_lifted, tell

_POSITIVE: Final = validators.Number(gte=1)


def idle(
    *,
    connections: Annotated[int, Parameter(validator=_POSITIVE)] = 10_000,
    seconds: Annotated[float, Parameter(validator=validators.Number(gte=1, lte=3_600))] = SECONDS,
    out: Path | None = None,
    json: bool = False,
) -> int:
    """Open connections that say nothing, and tell what they cost the relay in memory and CPU.

    It starts a relay of its own on an empty store. Each connection is of another user, and answers
    pings; if the time is too short for two to each, the relay's keep-alive is shortened. CPU time
    is measured from the end of the first of three keep-alive intervals on. Exits with 1 when a
    connection was lost.

    Parameters
    ----------
    connections
        How many.
    seconds
        How long they stay silent.
    out
        A directory that gets result.json and report.html, with pictures where there are any.
    json
        Print JSON on standard output instead of lines.
    """
    command = command_line(
        *("ksmp-relay", "bench", "idle"),
        connections=connections,
        seconds=seconds,
    )

    def measure() -> IdleReport:
        say_what_is_lifted(LIFTED)
        return measure_idle(connections, seconds)

    return tell(measured("idle", measure, out=out, command=command), _show, json=json)


def _show(report: IdleReport) -> None:
    print_lines(_lines(report))


def _lines(report: IdleReport) -> Iterator[str]:
    there, lost = report.still_connected, report.connections - report.still_connected
    before, after = report.relay_rss_before_kib / 1_024, report.relay_rss_after_kib / 1_024
    opened = f"{report.connections:,} opened, {report.handshakes_per_s:,.0f} per second"
    yield f"Connections: {opened}; {there:,} still there after {report.seconds:g} s."
    yield f"Memory per connection: {report.kib_per_connection:.1f} KiB."
    yield f"Memory of the relay: {before:,.1f} MiB before, {after:,.1f} MiB with them."
    if report.window is not None:
        yield _cpu_line(report.window)
    pings = f"each connection has answered at least {report.keepalive_rounds}"
    yield f"A ping after {report.keepalive_seconds:g} s of silence: {pings}."
    if report.keepalive_seconds < DEFAULT_KEEPALIVE_SECONDS:
        usual = f"a relay's is {DEFAULT_KEEPALIVE_SECONDS:g} s, unless it is configured"
        yield f"That was shortened to fit the time: {usual}."
    if lost:
        yield f"Lost: {lost:,}."
    if report.keepalive_rounds < KEEPALIVE_ROUNDS:
        yield "Too few pings to tell whether the connections would stay."


def _cpu_line(window: Window) -> str:
    share = "unknown" if window.relay_cpu is None else f"{window.relay_cpu:.1%} of a core"
    over = f"over {window.seconds:g} s, in which {window.pings:,} pings were answered"
    return f"CPU of the relay with all of them idle: {share}, {over}."
