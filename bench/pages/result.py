"""A result that can be shown later, alone or beside others: what was measured, when and on what."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal, get_args

import msgspec
from msgspec import Struct

from bench.pages.files import readable, write_whole
from bench.pages.surroundings import Machine, Versions, machine, versions

Kind = Literal["cells", "latency", "growth", "replay", "storm", "idle", "peers"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
"""In the order in which a report shows them."""

VERSION: Final = 1
"""Of the form of every kind; a field that is added does not change it."""

RESULT: Final = "result.json"


class ResultError(Exception):
    """A file is no result that can be shown; the message says why, without its path."""


class Result(Struct, frozen=True):
    """One measurement; `result.json` holds this."""

    kind: Kind
    version: int
    written_at: str
    """In UTC, as ISO 8601 has it."""
    command: str
    """Does it again."""
    versions: Versions
    machine: Machine
    report: msgspec.Raw
    """What the command prints with `--json`."""


class _Format(Struct):
    """As much as all versions have in common."""

    kind: str
    version: int


def result_of(kind: Kind, report: Struct, command: str, store: Path) -> Result:
    """A report, and what it was measured with; `store` is where the relay's store was, or near it.

    Raises:
        OSError: nothing can be written where the store was.
    """
    return Result(
        kind=kind,
        version=VERSION,
        written_at=datetime.now(UTC).isoformat(timespec="seconds"),
        command=command,
        versions=versions(),
        machine=machine(store),
        report=msgspec.Raw(msgspec.json.encode(report)),
    )


def command_line(*words: str, **options: object) -> str:
    """A command that does something again: what is None or False was not said."""
    for name, value in options.items():
        if value is None or value is False:
            continue
        words += (f"--{name.replace('_', '-')}",)
        if value is not True:
            words += (f"{value:g}" if isinstance(value, float) else str(value),)
    return shlex.join(words)


def write_result(directory: Path, result: Result) -> None:
    """Leave it in a directory.

    Raises:
        OSError: it cannot be written to.
    """
    write_whole(directory / RESULT, readable(result))


def read_result(path: Path) -> Result:
    """A result that this program can show.

    Raises:
        ResultError: it is none, or of another version.
    """
    try:
        content = path.read_bytes()
        found = msgspec.json.decode(content, type=_Format)
        if found.kind not in KINDS:
            raise ResultError(f"it is of a kind that is not known here: {found.kind!r}")
        if found.version != VERSION:
            wanted = f"this program shows version {VERSION}"
            raise ResultError(f"it is of version {found.version}; {wanted}")
        return msgspec.json.decode(content, type=Result)
    except OSError as error:
        raise ResultError(f"it cannot be read: {error.strerror}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        # A message of a decoder names the field and the type, and none of the values.
        raise ResultError(f"it is no result: {error}") from None
