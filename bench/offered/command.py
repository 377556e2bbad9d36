"""`ksmp-relay bench latency`: how long messages take at a load that does not wait for answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import gettempdir
from typing import Annotated, Final

from cyclopts import Parameter, validators
from rich.console import Console
from rich.table import Table

from bench.checker.printing import excerpt_lines
from bench.offered.sweep import SHARES, LatencyReport, Wish, measure_latency
from bench.offered.syncs import in_words
from bench.pages.result import command_line
from bench.places import stores_of
from bench.run import GENERATOR_BOUND
from bench.spread import Spread
from bench.telling import measured, numbers_in, require_both_or_neither, tell
from relay.exits import CommandError, ExitCode

WIDTH: Final = 134
"""Columns that the table needs."""

_POSITIVE: Final = validators.Number(gte=1)


def latency(
    *,
    rate: Annotated[float | None, Parameter(validator=validators.Number(gt=0))] = None,
    loads: str | None = None,
    pairs: Annotated[int, Parameter(validator=_POSITIVE)] = 100,
    size: Annotated[int, Parameter(validator=_POSITIVE)] = 256,
    seconds: Annotated[float, Parameter(validator=validators.Number(gt=0, lte=3_600))] = 10.0,
    warm_up: Annotated[float, Parameter(validator=validators.Number(gte=0, lte=600))] = 2.0,
    runs: Annotated[int, Parameter(validator=_POSITIVE)] = 3,
    seed: int = 1,
    in_memory: bool = False,
    url: str | None = None,
    tokens: Annotated[Path | None, Parameter(validator=validators.Path(exists=True))] = None,
    out: Path | None = None,
    json: bool = False,
) -> int:
    """Offer loads that do not wait for the relay, and tell how long messages take at each.

    Latencies count from when a send was meant, so that a relay that holds its senders up does not
    hide how long their messages waited. Exits with 1 when a promise was broken, or a message was
    not acked or did not come.

    Parameters
    ----------
    rate
        Sends per second of all users; without it, shares of what the relay can do.
    loads
        Which shares: per cents of it with commas between them. By default 10,20,30 and so on to 90.
    pairs
        Pairs of users; both sides send.
    size
        Bytes of ciphertext in each message.
    seconds
        How long to measure each load.
    warm_up
        Seconds of the same load before that.
    runs
        How often each load is measured; medians are told, with the lowest and the highest.
    seed
        Decides who sends when.
    in_memory
        Keep the store of the relay in memory.
    url
        A relay that runs already; needs --tokens.
    tokens
        A file with one token a line, two for each pair, in pair order.
    out
        A directory that gets result.json, the pictures and report.html.
    json
        Print JSON on standard output instead of a table.
    """
    require_both_or_neither(url, tokens)
    shares = _shares(rate, loads)
    wish = Wish(rate, pairs, size, seconds, warm_up, runs, seed, in_memory, url, tokens, shares)
    command = command_line(
        *("ksmp-relay", "bench", "latency"),
        rate=rate,
        loads=loads,
        pairs=pairs,
        size=size,
        seconds=seconds,
        warm_up=warm_up,
        runs=runs,
        seed=seed,
        in_memory=in_memory,
        url=url and "URL",
        tokens=tokens and "FILE",
    )
    store = Path(gettempdir()) if url else stores_of(in_memory=in_memory)
    report = measured(
        "latency", lambda: measure_latency(wish), out=out, command=command, store=store
    )
    return tell(report, _print, json=json)


def _shares(rate: float | None, loads: str | None) -> Sequence[float]:
    if loads is None:
        return SHARES
    if rate is not None:
        raise CommandError(
            ExitCode.USAGE,
            "This cannot be measured",
            "--rate is one load, and --loads names several",
            "Leave one of them out.",
        )
    return [percent / 100 for percent in numbers_in("--loads", loads)]


def _print(report: LatencyReport) -> None:
    columns = ("offered/s", "acked/s", "p50 ms", "p99 ms", "p99.9 ms", "worst ms", "delivery p99")
    table = Table(
        *columns,
        "syncs",
        title="Acks, from when the send was meant: medians, lowest … highest below",
    )
    for column in table.columns:
        column.justify = "right"
    console = Console(highlight=False, markup=False)
    console = Console(highlight=False, markup=False, width=max(WIDTH, console.width))
    for one in report.loads:
        acks = one.ack_p50_ms, one.ack_p99_ms, one.ack_p999_ms, one.ack_worst_ms
        offered = f"{one.rate_per_s:,.0f}{' *' if one.generator_bound else ''}"
        latencies = (_words(spread, 2) for spread in (*acks, one.delivery_p99_ms))
        median, p99, worst = in_words(one.syncs)
        table.add_row(offered, _words(one.acked_per_s, 0), *latencies, f"{median} · {p99}\n{worst}")
    console.print(table)
    if any(one.syncs is not None for one in report.loads):
        console.print(
            "Syncs, as the relay has counted them in the measured time of all runs: the bounds"
            " below which half of them were and 99 %, and under those that of all.",
            soft_wrap=True,
        )
    if any(one.generator_bound for one in report.loads):
        bound = f"{GENERATOR_BOUND:.0%}"
        console.print(f"* The generator took more than {bound} of a core: its own figures.")
    for one in report.loads:
        cpu = max(run.generator_cpu for run in one.runs)
        console.print(f"At {one.rate_per_s:,.0f}/s the generator took {cpu:.0%} of a core.")
        for run in one.runs:
            for verdict in run.checker.verdicts:
                for line in excerpt_lines(verdict) if verdict.excerpt else ():
                    console.print(line, soft_wrap=True)
    console.print("Every promise kept." if report.is_good else "Not every promise was kept.")


def _words(spread: Spread, digits: int) -> str:
    median, lowest, highest = (
        f"{one:,.{digits}f}" for one in (spread.median, spread.lowest, spread.highest)
    )
    return f"{median}\n{lowest} … {highest}"
