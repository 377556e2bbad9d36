"""Leaves a measurement in a directory, if one was named: its figures, its pictures and a page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from bench.pages.result import Kind, result_of
from relay.exits import CommandError, ExitCode


@contextmanager
def leaving(
    out: Path | None, kind: Kind, command: str, store: Path
) -> Iterator[Callable[[Struct], None]]:
    """Takes the report of a measurement. A directory that cannot be had is known before the load.

    `command` does it again, and `store` is where the relay's store is.

    Raises:
        CommandError: nothing can be written there.
    """

    def leave(report: Struct) -> None:
        if out is not None:
            from bench.pages.report import leave as leave_in
            from bench.sections import shown  # imports matplotlib

            with _can_be_written():
                leave_in(out, shown(result_of(kind, report, command, store)))

    if out is not None:
        with _can_be_written():
            out.mkdir(parents=True, exist_ok=True)
    yield leave


@contextmanager
def _can_be_written() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CommandError(
            ExitCode.FAILED,
            "The result cannot be written",
            error.strerror or "the system does not say why",
            "Give --out a directory that can be written to.",
        ) from None
