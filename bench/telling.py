"""What the measuring commands tell alike: a result to a program, or why there is none to people."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
from msgspec import Struct

from bench.checker.check import Report
from bench.checker.printing import excerpt_lines
from bench.relay_of_its_own import StartError
from bench.run import RunError
from relay.exits import CommandError, ExitCode


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


def print_json(result: Struct) -> None:
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
