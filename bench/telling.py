"""What the measuring commands tell alike: a result, what it means, or why there is none."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import gettempdir
from typing import Protocol, TypeVar

import msgspec
from msgspec import Struct
from rich.console import Console

from bench.checker.check import Report
from bench.checker.printing import excerpt_lines
from bench.leaving import leaving
from bench.pages.result import Kind
from bench.relay_of_its_own import StartError
from bench.run import RunError
from relay.exits import CommandError, ExitCode


class Judged(Protocol):
    """A report of a measurement that can have failed."""

    @property
    def is_good(self) -> bool:
        """Whether what was promised was kept."""


R = TypeVar("R", bound=Struct)
J = TypeVar("J", bound=Judged)


def measured(
    kind: Kind,
    measure: Callable[[], R],
    *,
    out: Path | None,
    command: str,
    store: Path | None = None,
) -> R:
    """The report, left in `out` as well if that was named.

    `command` measures it again, and `store` is where the relay's store is, if not among temporary
    files.

    Raises:
        CommandError: it cannot be measured, or nothing can be written there.
    """
    with measuring(), leaving(out, kind, command, store or Path(gettempdir())) as leave:
        report = measure()
        leave(report)
    return report


def tell(report: J, show: Callable[[J], None], *, json: bool) -> ExitCode:
    """Print the report for a program, or show it to people; how the command ends."""
    if json:
        print_json(report)
    else:
        show(report)
    return ExitCode.OK if report.is_good else ExitCode.FAILED


def print_lines(lines: Iterable[str]) -> None:
    """On standard output, each as long as it is."""
    console = Console(highlight=False, markup=False)
    for line in lines:
        console.print(line, soft_wrap=True)


@contextmanager
def measuring() -> Iterator[None]:
    """What keeps a measurement from being made, as the end of the command.

    Raises:
        CommandError: a relay did not start, or it could not be measured.
    """
    try:
        yield
    except (StartError, RunError) as error:
        raise CommandError(
            ExitCode.FAILED, "There is no measurement", str(error), "Nothing was judged."
        ) from None


def require_both_or_neither(url: str | None, tokens: Path | None) -> None:
    """A relay that runs already is measured with tokens of its own.

    Raises:
        CommandError: only one of the two was given.
    """
    if (url is None) != (tokens is None):
        raise CommandError(
            ExitCode.USAGE,
            "This cannot be measured",
            "--url and --tokens belong together",
            "Give both, or neither to measure a relay started for it.",
        )


def numbers_in(option: str, said: str) -> list[int]:
    """What this option lists.

    Raises:
        CommandError: these are no whole numbers above 0 with commas between them.
    """
    try:
        numbers = [int(one) for one in said.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 1:
        raise CommandError(
            ExitCode.USAGE,
            "This cannot be measured",
            f"{option} takes whole numbers above 0 with commas between them",
            f"Give them as in {option} 100,1000.",
        )
    return numbers


def print_json(result: object) -> None:
    """One line on standard output."""
    sys.stdout.buffer.write(msgspec.json.encode(result) + b"\n")


def verdict_lines(checked: Report) -> Iterator[str]:
    """Which promises were put to the test, and what contradicts them."""
    kept = [one.invariant for one in checked.verdicts if one.verdict == "ok"]
    rest = ", ".join(checked.not_exercised) or "none"
    yield f"Promises kept: {', '.join(kept) or 'none'}. Not exercised: {rest}."
    for verdict in checked.verdicts:
        if verdict.excerpt:
            yield from excerpt_lines(verdict)


def say_what_is_lifted(settings: Iterable[str]) -> None:
    """On standard error: with these settings a relay is measured, and not with the usual ones."""
    lifted = ", ".join(name.removeprefix("KSMP_LIMITS__").lower() for name in settings)
    Console(stderr=True).print(
        f"Starting a relay on an empty store, with these limits lifted: {lifted}.", soft_wrap=True
    )
