"""What the measuring commands tell alike: a result to a program, or why there is none to people."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
from msgspec import Struct

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
