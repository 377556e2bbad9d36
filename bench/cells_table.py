"""The cells, for people who read a terminal."""

from __future__ import annotations

from typing import Final

from rich.console import Console
from rich.table import Table

from bench.cells_result import Cell, CellsResult, LmdbBeside
from bench.run import GENERATOR_BOUND
from bench.runs import Spread

BOUND_REMARK: Final = (
    f"GENERATOR_BOUND: in a round a load generator took more than {GENERATOR_BOUND:.0%} of a core,"
    " of this cell's or of the plain one's, and would have been compared instead."
)


def print_cells(result: CellsResult) -> None:
    """On standard output."""
    table = Table(
        "cell",
        "load",
        "acked/s",
        "ack p50 ms",
        "ack p99 ms",
        f"ratio to {result.plain}",
        title=f"Medians of {result.rounds} rounds in turns, lowest … highest below",
    )
    for column in table.columns[2:]:
        column.justify = "right"
    for cell in result.cells:
        table.add_row(
            cell.name,
            cell.load,
            "\n".join(figure(cell.acked_per_s, 0)),
            "\n".join(figure(cell.ack_p50_ms, 2)),
            "\n".join(figure(cell.ack_p99_ms, 2)),
            ratio(cell, "\n"),
        )
    console = Console(highlight=False, markup=False)
    console.print(table)
    for line in remarks(result):
        console.print(line, soft_wrap=True)


def figure(spread: Spread, digits: int) -> tuple[str, str]:
    """The median, and from where to where it goes."""
    median, lowest, highest = (
        f"{one:,.{digits}f}" for one in (spread.median, spread.lowest, spread.highest)
    )
    return median, f"{lowest} … {highest}"


def ratio(of: Cell | LmdbBeside, between: str) -> str:
    """Of the acks per second; or why there is none."""
    if of.ratio is None:
        return of.no_ratio or "1"
    return between.join(figure(of.ratio, 2))


def remarks(result: CellsResult) -> list[str]:
    """What the figures do not say."""
    lines = [_beside_lmdb(result)]
    if any(cell.no_ratio == "GENERATOR_BOUND" for cell in result.cells):
        lines.append(BOUND_REMARK)
    bad = [cell for cell in result.cells if not cell.is_good]
    for cell in bad:
        broken = sorted({name for run in cell.runs for name in run.checker.violated})
        undelivered = sum(run.undelivered for run in cell.runs)
        lines.append(
            f"{cell.name} is not good: promises broken: {', '.join(broken) or 'none'};"
            f" messages that did not arrive: {undelivered}."
        )
    runs = sum(len(cell.runs) for cell in result.cells)
    if not bad:
        lines.append(f"All {runs} runs were judged by the checker, and kept their promises.")
    return lines


def _beside_lmdb(result: CellsResult) -> str:
    alone = result.lmdb_alone
    per_commit = sorted(run.records_per_commit for run in alone.runs)
    return (
        f"LMDB alone, with the rows of as many messages in a transaction ({per_commit[0]:,} …"
        f" {per_commit[-1]:,}), commits {' · '.join(figure(alone.messages_per_s, 0))} messages per"
        f" second; ratio of {result.plain} to it: {ratio(alone, ' · ')}."
    )
