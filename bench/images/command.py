"""The command: `python -m bench.images` for many images, `python -m bench.images one` for one."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Final

import trio
from cyclopts import App, Parameter, validators

from bench.images.campaign import Campaign, Failure, WorkerError
from bench.images.recording import read_recording
from bench.images.reserving import reserving_little
from bench.images.rounds import examine_one
from bench.images.store_files import write_files
from bench.images.tracing import NoTraceError, require_strace
from bench.places import IN_MEMORY

IMAGES_OF_EACH: Final = 20_000
"""Of one recording, where there are many: making one takes as long as some hundred images."""

LEAST_RECORDINGS: Final = 5
TOLD_FAILURES: Final = 20

_POSITIVE: Final = validators.Number(gte=1)
_NOT_NEGATIVE: Final = validators.Number(gte=0)

app = App(name="bench.images", help="Crash a store at every system call, and open what is left.")


@app.default
def crash_images(
    *,
    images: Annotated[int, Parameter(validator=_POSITIVE)] = 10_000,
    out: Path = Path("var/images"),
    first_seed: Annotated[int, Parameter(validator=_NOT_NEGATIVE)] = 1,
    recordings: Annotated[int | None, Parameter(validator=_POSITIVE)] = None,
    workers: Annotated[int | None, Parameter(validator=_POSITIVE)] = None,
) -> int:
    """Record stores at work, cut the recordings off anywhere, and examine what a crash may leave.

    Interrupted, it goes on where it was when it is started again with the same words. Exits with 1
    when an image failed; it is told how to have that image again.

    Parameters
    ----------
    images
        How many, in all.
    out
        Where recordings and progress are; what is there already is used.
    first_seed
        Of the first recording; the others have those that follow.
    recordings
        How many; one for each 20,000 images, and at least 5, where it is not said.
    workers
        How many processes; as many as there are cores, where it is not said.
    """
    amount = recordings or max(LEAST_RECORDINGS, images // IMAGES_OF_EACH)
    seeds = range(first_seed, first_seed + amount)
    campaign = Campaign(out, seeds, -(-images // amount))
    tell = _telling(campaign)
    is_done = False
    try:
        require_strace()
        trio.run(campaign.run, workers or os.cpu_count() or 1, tell)
        is_done = True
    except* (WorkerError, NoTraceError) as errors:
        _say(f"Not all images were examined: {_first(errors)}")
    except* KeyboardInterrupt:
        _say("Interrupted. The same words go on where this was.")
    tell()
    _say_failures(campaign)
    return 0 if is_done and not campaign.failed else 1


@app.command
def one(
    recording: Path,
    *,
    round_: Annotated[int, Parameter(name="--round", validator=_NOT_NEGATIVE)],
    moment: Annotated[int, Parameter(validator=_POSITIVE)],
    keep: Path | None = None,
) -> int:
    """Examine one image again. Exits with 1 when something is wrong with it.

    Parameters
    ----------
    recording
        The file that it is of.
    round_
        As told of the failure.
    moment
        As told of the failure.
    keep
        A directory for the image, as the crash has left it.
    """
    with reserving_little(), TemporaryDirectory(prefix="ksmp-images-", dir=IN_MEMORY) as name:
        place = Path(name) / "image"
        files, examined = examine_one(read_recording(recording), round_, moment, place)
    if keep is not None:
        write_files(keep, files)
    print(examined.problem or "all is well")
    return 1 if examined.problem else 0


def _first(errors: BaseExceptionGroup[Exception]) -> BaseException:
    """One of them, out of the groups that nurseries put around it."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def command_of(file: Path, failure: Failure) -> str:
    """What examines that image again."""
    words = ["one", str(file), "--round", str(failure.round), "--moment", str(failure.moment)]
    return shlex.join(["python", "-m", "bench.images", *words])


def _telling(campaign: Campaign) -> Callable[[], None]:
    began = time.monotonic()
    before = campaign.examined

    def tell() -> None:
        rate = (campaign.examined - before) / (time.monotonic() - began)
        counts = f"{campaign.examined:,} images examined, {campaign.failed:,} failed"
        _say(f"{counts}, {rate:.0f} a second")

    return tell


def _say_failures(campaign: Campaign) -> None:
    failures = [
        (seed, failure) for seed in campaign.seeds for failure in campaign.progress[seed].failures
    ]
    for seed, failure in failures[:TOLD_FAILURES]:
        print(failure.problem)
        print(f"    {command_of(campaign.file_of(seed), failure)}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
