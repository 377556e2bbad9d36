"""`ksmp-relay bench rerun` and `bench report`: an experiment once more, or its report anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from cyclopts import Parameter, validators
from msgspec import Struct
from msgspec.structs import replace
from rich.console import Console
from rich.table import Table

from bench.checker.reading import HistoryError
from bench.isolation import wording as w
from bench.isolation.bundle import (
    REPORT,
    Bundle,
    BundleError,
    Provenance,
    read_bundle,
    write_drawings,
)
from bench.isolation.experiment import Experiment
from bench.isolation.findings import Findings
from bench.isolation.timeline import Timeline
from bench.pages import wording as words
from bench.telling import measuring, print_json
from relay.exits import CommandError, ExitCode

Run = Callable[[Experiment, Path], Findings]
"""Does an experiment and leaves its bundle in the directory."""

TimelineOf = Callable[[Bundle], Timeline]

_IsBundle = validators.Path(exists=True, file_okay=False)


Of = Literal["version", "machine"]


class Difference(Struct, frozen=True):
    """Something that is not now as it was then, in words; empty where it was not there."""

    of: Of
    what: str
    then: str
    now: str


class Comparison(Struct, frozen=True):
    """An experiment and its repetition; as JSON this is what `--json` prints."""

    then: Findings
    now: Findings
    then_sync_ms: float
    now_sync_ms: float
    differences: tuple[Difference, ...]
    ok: bool


class Figure(NamedTuple):
    """A line of the table: the same figure of both."""

    name: str
    then: str
    now: str


def rerun(
    directory: Annotated[Path, Parameter(validator=_IsBundle)],
    *,
    out: Path | None = None,
    json: bool = False,
) -> int:
    """Repeat an isolation experiment from its bundle, and put both results side by side.

    The faults, the seed and the rate are those of then, so that the two compare; the versions and
    the machine are those of here, and what differs is told. Exits with 0 when this run's findings
    are good, else with 1.

    Parameters
    ----------
    directory
        A bundle, as `ksmp-relay bench isolation --out` leaves it.
    out
        Where the new bundle goes; without it, beside the old one.
    json
        Print JSON on standard output instead of a table.
    """
    from bench.isolation.run import run

    with _told_to_people():
        comparison = repeat(directory, out or fresh_directory(directory), run)
    if json:
        print_json(comparison)
    else:
        print_comparison(comparison)
    return ExitCode.OK if comparison.ok else ExitCode.FAILED


def report(directory: Annotated[Path, Parameter(validator=_IsBundle)]) -> int:
    """Draw the pictures and the report of a bundle again, from its history.

    Parameters
    ----------
    directory
        A bundle, as `ksmp-relay bench isolation --out` leaves it.
    """
    from bench.isolation.measuring import timeline_of

    with _told_to_people():
        redraw(directory, lambda bundle: timeline_of(bundle.history, bundle.moments))
    Console(highlight=False, markup=False).print(f"Drawn: {directory / REPORT}", soft_wrap=True)
    return ExitCode.OK


def repeat(directory: Path, out: Path, run: Run) -> Comparison:
    """The same experiment, with the seed and the rate of then; its bundle is left in `out`.

    Raises:
        BundleError: one of the directories is no bundle, or tells of an experiment that nobody
            can do, or `out` is not empty.
        OSError: `out` cannot be made.
    """
    then = read_bundle(directory)
    experiment = experiment_of(then)
    if experiment.problem is not None:
        raise BundleError(f"its experiment cannot be done: {experiment.problem}")
    out.mkdir(parents=True, exist_ok=True)
    if any(out.iterdir()):
        raise BundleError(f"{out.name} is not empty: a new bundle needs a directory of its own")
    findings = run(experiment, out)
    now = read_bundle(out)
    return Comparison(
        then=then.findings,
        now=findings,
        then_sync_ms=then.provenance.machine.sync_ms,
        now_sync_ms=now.provenance.machine.sync_ms,
        differences=differences(then.provenance, now.provenance),
        ok=findings.ok,
    )


def experiment_of(bundle: Bundle) -> Experiment:
    """What to do so that it compares: nothing is measured anew that decides the load."""
    found = bundle.findings
    return replace(bundle.provenance.experiment, rate_per_s=found.rate_per_s, seed=found.seed)


def fresh_directory(directory: Path) -> Path:
    """The first of DIR-rerun-1, DIR-rerun-2 … that does not exist."""
    whole = directory.resolve()  # "." has no name to add to
    number = 1
    while (candidate := whole.with_name(f"{whole.name}-rerun-{number}")).exists():
        number += 1
    return candidate


def redraw(directory: Path, timeline_of: TimelineOf) -> None:
    """The pictures and the report, anew.

    Raises:
        BundleError: the directory is no bundle.
        OSError: something cannot be written.
    """
    bundle = read_bundle(directory)
    write_drawings(bundle, timeline_of(bundle))


def differences(then: Provenance, now: Provenance) -> tuple[Difference, ...]:
    """What is not the same in versions and machines; how long a sync takes is a figure."""
    from bench.pages.origin import machine_rows, versions_rows

    both: tuple[tuple[Of, dict[str, str], dict[str, str]], ...] = (
        ("version", dict(versions_rows(then.versions)), dict(versions_rows(now.versions))),
        ("machine", dict(machine_rows(then.machine)), dict(machine_rows(now.machine))),
    )
    found = []
    for of, before, after in both:
        for what in {**before, **after}:
            was, has_become = before.get(what, ""), after.get(what, "")
            if was != has_become:
                found.append(Difference(of, what, was, has_become))
    return tuple(found)


def figures(comparison: Comparison) -> Iterator[Figure]:
    """Both results, figure by figure."""
    then, now = comparison.then, comparison.now
    was, has_become = then.bystanders, now.bystanders

    def of(was_ms: float | None, is_ms: float | None) -> tuple[str, str]:
        return w.of_bystanders(then, was_ms), w.of_bystanders(now, is_ms)

    def both(show: Callable[[Findings], str]) -> tuple[str, str]:
        return show(then), show(now)

    yield Figure("conclusion", *both(lambda one: one.conclusion))
    yield Figure("sends per second", *both(lambda one: words.rate(one.rate_per_s)))
    yield Figure("bystanders, samples", *both(lambda one: f"{one.bystanders.samples:,}"))
    yield Figure("p99 in the baseline", *of(was.baseline_p99_ms, has_become.baseline_p99_ms))
    yield Figure("p99 in the fault", *of(was.fault_p99_ms, has_become.fault_p99_ms))
    yield Figure("ratio", *both(lambda one: words.ratio(one.bystanders.ratio)))
    yield Figure("worst in the fault", *of(was.worst_ms, has_become.worst_ms))
    yield Figure("victims, availability", *both(lambda one: words.share(one.victims.availability)))
    yield Figure("victims, recovery", *both(lambda one: words.if_seen(one.victims.recovery_ms)))
    yield Figure("restarts", *both(lambda one: f"{one.restarts:,}"))
    yield Figure("restart, median", *both(lambda one: words.if_seen(one.time_to_restart.p50_ms)))
    yield Figure("quarantines", *both(lambda one: f"{one.quarantines:,}"))
    yield Figure("dead letters", *both(lambda one: f"{one.dead_letters:,}"))
    syncs = (words.latency(comparison.then_sync_ms), words.latency(comparison.now_sync_ms))
    yield Figure("a sync of the disk, median", *syncs)
    yield Figure("promises broken", *both(lambda one: ", ".join(one.checker.violated) or "none"))


def print_comparison(comparison: Comparison) -> None:
    """Print both side by side, and what differs in versions and machines."""
    found = comparison.now
    title = f"{found.fault}, {found.conversations:,} conversations, seed {found.seed}"
    table = Table("", "then", "now", title=title)
    for column in table.columns[1:]:
        column.justify = "right"
    for figure in figures(comparison):
        table.add_row(*figure)
    console = Console(highlight=False, markup=False)
    console.print(table)
    for one in comparison.differences:
        words = f"Another {one.of}: {one.what} was {one.then or 'not there'},"
        console.print(f"{words} is {one.now or 'not there'}.", soft_wrap=True)
    if not comparison.differences:
        console.print("The versions and the machine are the same.")


@contextmanager
def _told_to_people() -> Iterator[None]:
    """Why there is nothing to compare or to draw, as the end of the command."""
    try:
        with measuring():
            yield
    except HistoryError as error:
        raise CommandError(
            ExitCode.FAILED,
            "The history of this bundle cannot be drawn",
            str(error),
            "Repeat the experiment: `ksmp-relay bench rerun DIR`.",
        ) from None
    except BundleError as error:
        raise CommandError(
            ExitCode.FAILED,
            "This bundle cannot be used",
            str(error),
            "Take a whole one: `ksmp-relay bench isolation --out DIR` makes it.",
        ) from None
    except OSError as error:
        raise CommandError(
            ExitCode.CANNOT_CREATE,
            "The bundle cannot be written",
            error.strerror or type(error).__name__,
            "Name a directory that may be written to.",
        ) from None
