"""`ksmp-relay bench growth`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

from cyclopts import Parameter, validators
from rich.console import Console
from rich.table import Table

from bench.growth import PAIRS, Cell, GrowthReport, GrowthShape, measure_growth
from bench.pages.result import command_line
from bench.run import GENERATOR_BOUND
from bench.telling import measured, numbers_in, tell, verdict_lines

CONVERSATIONS: Final = "100,1000,10000,100000"
WIDTH: Final = 110
"""Columns that the table needs."""

RECORDS: Final = "10000,100000,1000000"


def growth(
    *,
    conversations: str = CONVERSATIONS,
    records: str = RECORDS,
    size: Annotated[int, Parameter(validator=validators.Number(gte=1))] = 300,
    seconds: Annotated[float, Parameter(validator=validators.Number(gt=0, lte=3_600))] = 5.0,
    out: Path | None = None,
    json: bool = False,
) -> int:
    """Measure what a message and a start cost, on stores of every size.

    Each store is filled before its relay starts. Sizes with fewer records than conversations are
    left out. Exits with 1 when a message was lost, or a promise was broken.

    Parameters
    ----------
    conversations
        How many, as numbers with commas between them.
    records
        How many in all conversations together, likewise.
    size
        Bytes of ciphertext in each.
    seconds
        How long each size is measured.
    out
        A directory that gets result.json and report.html, with pictures where there are any.
    json
        Print JSON on standard output instead of a table.
    """
    shape = GrowthShape(
        numbers_in("--conversations", conversations),
        numbers_in("--records", records),
        size,
        seconds,
    )
    command = command_line(
        *("ksmp-relay", "bench", "growth"),
        conversations=conversations,
        records=records,
        size=size,
        seconds=seconds,
    )
    report = measured("growth", lambda: measure_growth(shape), out=out, command=command)
    return tell(report, _print_table, json=json)


def _print_table(report: GrowthReport) -> None:
    heads = ("start s", "MiB started", "MiB loaded", "acked/s", "p99 ms", "µs", "×", "CPU µs", "×")
    load = f"{PAIRS} pairs × {report.in_flight} in flight × {report.size} bytes"
    title = f"{load}, {report.seconds:g} s at each size"
    table = Table("conversations", "records", *heads, title=title)
    for column in table.columns:
        column.justify = "right"
    for cell in report.cells:
        table.add_row(*_row(cell))
    console = Console(highlight=False, markup=False)
    console = Console(highlight=False, markup=False, width=max(WIDTH, console.width))
    console.print(table)
    if any(cell.generator_bound for cell in report.cells):
        bound = f"The load generator took more than {GENERATOR_BOUND:.0%} of a core"
        console.print(f"{bound} where no ratio is given.", soft_wrap=True)
    for cell in report.cells:
        for line in verdict_lines(cell.checker):
            name = f"{cell.conversations:,} conversations, {cell.records:,} records"
            console.print(f"{name}: {line}", soft_wrap=True)


def _row(cell: Cell) -> list[str]:
    def ratio(value: float | None) -> str:
        return "" if value is None else f"{value:.2f}"

    cpu = "" if cell.cpu_us_per_message is None else f"{cell.cpu_us_per_message:,.0f}"
    return [
        f"{cell.conversations:,}",
        f"{cell.records:,}",
        f"{cell.start_seconds:.2f}",
        f"{cell.rss_started_kib / 1024:,.0f}",
        f"{cell.rss_loaded_kib / 1024:,.0f}",
        f"{cell.acked_per_s:,.0f}",
        f"{cell.ack_ms.p99:,.1f}",
        f"{cell.wall_us_per_message:,.0f}",
        ratio(cell.wall_ratio),
        cpu,
        ratio(cell.cpu_ratio),
    ]
