"""`ksmp-relay bench storm`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

from cyclopts import Parameter, validators

from bench.pages.result import command_line
from bench.run import GENERATOR_BOUND
from bench.storm import StormReport, StormShape, measure_storm
from bench.telling import measured, print_lines, tell, verdict_lines

_POSITIVE: Final = validators.Number(gte=1)


def storm(
    *,
    connections: Annotated[int, Parameter(validator=_POSITIVE)] = 5_000,
    messages: Annotated[int, Parameter(validator=_POSITIVE)] = 2,
    size: Annotated[int, Parameter(validator=_POSITIVE)] = 300,
    spread: Annotated[float, Parameter(validator=validators.Number(gte=0, lte=600))] = 2.0,
    seed: int = 1,
    out: Path | None = None,
    json: bool = False,
) -> int:
    """Drop all clients at once, store messages meanwhile, and let all come back with cursors.

    It starts a relay of its own on an empty store. Exits with 1 when anybody missed a message, or
    a promise was broken.

    Parameters
    ----------
    connections
        How many clients, each another user.
    messages
        That each is sent before it drops, and again while it is away.
    size
        Bytes of ciphertext in each.
    spread
        Seconds over which they come back, each at a moment of its own.
    seed
        Decides who comes back when.
    out
        A directory that gets result.json and report.html, with pictures where there are any.
    json
        Print JSON on standard output instead of lines.
    """
    command = command_line(
        *("ksmp-relay", "bench", "storm"),
        connections=connections,
        messages=messages,
        size=size,
        spread=spread,
        seed=seed,
    )
    shape = StormShape(connections, messages, size, spread, seed)
    report = measured("storm", lambda: measure_storm(shape), out=out, command=command)
    return tell(report, _show, json=json)


def _show(report: StormReport) -> None:
    print_lines(_lines(report))


def _lines(report: StormReport) -> list[str]:
    relay = "unknown" if report.relay_cpu is None else f"{report.relay_cpu:.0%} of a core"
    back = f"all back and caught up in {report.caught_up_seconds:.2f} s"
    lines = [
        f"Storm: {report.connections:,} clients dropped, {back}, over {report.spread_seconds:g} s.",
        (
            f"Handshakes: {report.handshakes_per_s:,.0f} per second coming back,"
            f" {report.opening_handshakes_per_s:,.0f} at the beginning;"
            f" {report.repeated_handshakes:,} had to be made again."
        ),
        f"Records missing: {report.missing:,}.",
        (
            f"CPU: relay {relay}, clients {report.generator_cpu:.0%} of a core;"
            f" memory of the relay {report.relay_rss_kib / 1024:,.1f} MiB."
        ),
    ]
    if report.generator_bound:
        lines.append(
            f"The clients took more than {GENERATOR_BOUND:.0%} of a core:"
            " these figures are a lower bound."
        )
    return lines + list(verdict_lines(report.checker))
