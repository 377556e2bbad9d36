"""The command: `python -m bench.torture --minutes 10`."""

from __future__ import annotations

import asyncio
import logging
import secrets
import shlex
import shutil
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import gettempdir, mkdtemp
from typing import Annotated, Final

from cyclopts import App, Parameter, validators

from bench.ending import ASKED_TO_END
from bench.places import IN_MEMORY
from bench.plan import Progress
from bench.run import progress_bar
from bench.telling import print_json
from bench.torture.campaign import Campaign
from bench.torture.fault import Fault
from bench.torture.faults import FAULTS
from bench.torture.round import Played
from bench.torture.stock import has_stock, make_stock
from bench.torture.summary import line_of, print_summary, summed_up
from relay.exits import ExitCode

STOCK: Final = "stock"
INTERRUPTED: Final = 130
_POSITIVE: Final = validators.Number(gt=0)
_NOT_NEGATIVE: Final = validators.Number(gte=0)

app = App(name="bench.torture", help="Kill, starve, damage and stall relays, and judge them.")


@app.default
def torture(
    *,
    minutes: Annotated[float, Parameter(validator=_POSITIVE)] = 10.0,
    only: Annotated[tuple[str, ...], Parameter(consume_multiple=True)] = (),
    seed: Annotated[int | None, Parameter(validator=_NOT_NEGATIVE)] = None,
    round_number: Annotated[int | None, Parameter(name="--round", validator=_NOT_NEGATIVE)] = None,
    strikes: Annotated[int | None, Parameter(validator=_POSITIVE)] = None,
    records: Annotated[int, Parameter(validator=_NOT_NEGATIVE)] = 0,
    out: Path | None = None,
    in_memory: bool = False,
    keep: bool = False,
    json: bool = False,
    faults: bool = False,
) -> int:
    """Play one round after the other, each fault in turn, until the time is over.

    Exits with 1 when something was broken. The round that has begun is played to its end.

    Parameters
    ----------
    minutes
        How long.
    only
        Only these faults.
    seed
        Of all dice. Not given: another one each time, and told.
    round_number
        Play only the round of this number, of each fault.
    strikes
        How often a fault strikes in a round. Not given: as often as it does by itself.
    records
        Have some of the rounds begin on a store with so many records.
    out
        Where rounds have their directories; of those that were broken they are kept. Not given: a
        temporary directory.
    in_memory
        Have that directory in memory, where syncs cost nothing.
    keep
        Keep the directories of all rounds.
    json
        Print JSON on standard output instead of a table.
    faults
        Tell what there is, and what must hold, and do nothing.
    """
    if unknown := [name for name in only if name not in FAULTS]:
        print(f"{', '.join(unknown)}: not one of {', '.join(FAULTS)}", file=sys.stderr)
        return ExitCode.USAGE
    chosen = [FAULTS[name] for name in only or FAULTS]
    if faults:
        _tell(chosen)
        return ExitCode.OK
    for library in ("picows", "aiofastnet"):  # they tell of every full buffer and lost line
        logging.getLogger(library).setLevel(logging.ERROR)
    seed = secrets.randbelow(2**32) if seed is None else seed
    with _directory(out, in_memory=in_memory, keep=keep) as directory:
        campaign = Campaign(chosen, seed, directory, _stock(directory, records), strikes, keep)
        if round_number is None:
            rounds = campaign.rounds(60 * minutes)
        else:
            rounds = campaign.each(round_number)
        return asyncio.run(_play(campaign, rounds, records, json=json))


def _tell(faults: Sequence[Fault]) -> None:
    for fault in faults:
        lacking = fault.lacks()
        print(f"{fault.name}{f' (not here: {lacking})' if lacking else ''}\n    {fault.says}\n")


@contextmanager
def _directory(out: Path | None, *, in_memory: bool, keep: bool) -> Iterator[Path]:
    """Where rounds have theirs; removed in the end, where it is temporary and nothing is in it."""
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        yield out.absolute()
        return
    where = IN_MEMORY if in_memory else Path(gettempdir())
    directory = Path(mkdtemp(prefix="ksmp-torture-", dir=where))
    try:
        yield directory
    finally:
        shutil.rmtree(directory / STOCK, ignore_errors=True)
        if not keep and not any(directory.iterdir()):
            directory.rmdir()


def _stock(directory: Path, records: int) -> Path | None:
    """The store that some rounds begin with; one of an earlier campaign is taken as it is."""
    if not records:
        return None
    stock = directory / STOCK
    if not has_stock(stock, records):
        shutil.rmtree(stock, ignore_errors=True)
        with progress_bar("a store to begin with") as show:
            make_stock(
                stock, records, lambda done: show(Progress("storing records", done, records))
            )
    return stock


async def _play(
    campaign: Campaign, rounds: AsyncIterator[Played], records: int, *, json: bool
) -> int:
    """The exit code. Told to end, it ends the round, and tells of those before."""
    task = asyncio.current_task()
    assert task is not None
    for number in ASKED_TO_END:
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    began, told = time.monotonic(), sys.stderr if json else sys.stdout
    played: list[Played] = []
    failures: list[str] = []
    is_interrupted = False
    try:
        async for one in rounds:
            played.append(one)
            print(line_of(one), file=told, flush=True)
            if one.failure is not None:
                failures.append(_command(one, campaign.strikes, records))
                print(f"    again: {failures[-1]}", file=told)
                print(f"    evidence: {campaign.directory_of(one.fault, one.number)}", file=told)
    except asyncio.CancelledError:  # noqa: ASYNC103 - it ends now, and tells of what was played
        is_interrupted = True
    summary = summed_up(campaign.seed, time.monotonic() - began, played, failures)
    if json:
        print_json(summary)
    else:
        print_summary(summary)
    return INTERRUPTED if is_interrupted else int(bool(failures))


def _command(played: Played, strikes: int | None, records: int) -> str:
    """What plays that round again."""
    words = ["python", "-m", "bench.torture", "--only", played.fault]
    words += ["--seed", str(played.seed), "--round", str(played.number)]
    words += [] if strikes is None else ["--strikes", str(strikes)]
    words += ["--records", str(records)] * bool(records) + ["--keep"]
    return shlex.join(words)
