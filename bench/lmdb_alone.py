"""What LMDB alone commits, synced, of rows like the relay's: `python -m bench.lmdb_alone`.

The rows of each transaction are those that the relay would put for as many new records: in the
same tables, of the same sizes, in the same order. They are made beforehand; counted is only the
time from the begin of a transaction to its end on disk. Nothing is looked up, hashed, decoded,
numbered or sent, so no relay that puts each commit into LMDB's tables could be faster, on this
machine now. The relay has a journal in front of them, and this is what that journal is beside.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Annotated, Final

from cyclopts import App, Parameter, validators
from msgspec import Struct
from rich.console import Console

from bench.lmdb_rows import TransactionRows, transactions
from bench.telling import print_json
from ksmp.types import Epoch
from storage.environment import Environment, open_environment

MAP_BYTES: Final = 1 << 36
"""Address space for any run, so that none is interrupted by growth."""

RESERVED_PAGES: Final = 4_096

_POSITIVE: Final = validators.Number(gte=1)

app = App(name="bench.lmdb_alone", help="Measure what LMDB alone commits of the relay's rows.")


class LmdbReport(Struct, frozen=True):
    """As JSON this is what `--json` prints."""

    records_per_commit: int
    conversations: int
    size: int
    commits: int
    seconds: float
    """Of the commits alone; what was done between them does not count."""
    messages_per_s: float
    rows_per_s: float


@app.default
def lmdb_alone(
    *,
    records_per_commit: Annotated[int, Parameter(validator=_POSITIVE)] = 128,
    conversations: Annotated[int, Parameter(validator=_POSITIVE)] = 16,
    size: Annotated[int, Parameter(validator=_POSITIVE)] = 300,
    seconds: Annotated[float, Parameter(validator=validators.Number(gt=0, lte=600))] = 5.0,
    json: bool = False,
) -> int:
    """Commit rows as the relay's for a while, on an empty store.

    Parameters
    ----------
    records_per_commit
        Messages in each transaction: take what the relay had, as `bench ordering --json` tells.
    conversations
        Over how many the messages of a transaction are spread; each is of a pair of its own.
    size
        Bytes of ciphertext in each message.
    seconds
        How long commits are to take together.
    json
        Print JSON on standard output instead of a line.
    """
    with TemporaryDirectory(prefix="ksmp-lmdb-alone-") as name:
        environment = open_environment(
            Path(name) / "store",
            new_epoch=lambda: Epoch("bench"),
            new_lock=nullcontext,
            map_size_bytes=MAP_BYTES,
        )
        try:
            report = commit_for(
                environment, records_per_commit, conversations, size, seconds, perf_counter
            )
        finally:
            environment.close()
    if json:
        print_json(report)
    else:
        Console(highlight=False).print(
            f"{report.messages_per_s:,.0f} messages, {report.rows_per_s:,.0f} rows per second in"
            f" {report.commits:,} synced transactions of {report.records_per_commit:,} messages of"
            f" {report.size:,} bytes.",
            soft_wrap=True,
        )
    return 0


def commit_for(
    environment: Environment,
    records_per_commit: int,
    conversations: int,
    size: int,
    seconds: float,
    now: Callable[[], float],
) -> LmdbReport:
    """Commit until all commits together have taken so long; at least one."""
    took, rows, commits = 0.0, 0, 0
    coming = transactions(records_per_commit, conversations, size)
    while took < seconds:
        transaction_rows = next(coming)
        environment.reserve(RESERVED_PAGES)
        began = now()
        _commit(environment, transaction_rows)
        took += now() - began
        rows += sum(map(len, transaction_rows.values()))
        commits += 1
    return LmdbReport(
        records_per_commit=records_per_commit,
        conversations=conversations,
        size=size,
        commits=commits,
        seconds=round(took, 3),
        messages_per_s=round(commits * records_per_commit / took, 1),
        rows_per_s=round(rows / took, 1),
    )


def _commit(environment: Environment, rows: TransactionRows) -> None:
    transaction = environment.begin()
    try:
        for table, of_table in rows.items():
            with transaction.cursor(environment.tables[table]) as lmdb_cursor:
                lmdb_cursor.putmulti(of_table)
        transaction.commit()
    finally:
        transaction.abort()  # does nothing after a commit


if __name__ == "__main__":
    sys.exit(app(result_action="return_value"))
