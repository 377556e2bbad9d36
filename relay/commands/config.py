"""`ksmp-relay config`: check a configuration, show the one in force, write one to start from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from cyclopts import App, Parameter

from relay.commands.loading import load
from relay.config import Config
from relay.config_file import annotated_toml, plain_toml
from relay.exits import CommandError, ExitCode

if TYPE_CHECKING:
    from relay.memory import Part

DEFAULT_FILE = Path("ksmp-relay.toml")

_NAME_COLUMNS = 24
_SIZE_COLUMNS = 10

app = App(name="config", help="Check, show or write a configuration.")


@app.command
def check(*, config: Path | None = None) -> None:
    """Check the configuration that a relay would run with, and the files it names.

    Parameters
    ----------
    config
        The TOML file; environment variables count as well.
    """
    load(config, check_files=True)
    print("The configuration is good.")


@app.command
def show(
    *, config: Path | None = None, json: Annotated[bool, Parameter(negative="")] = False
) -> None:
    """Print the configuration in force: file, environment and defaults together.

    Parameters
    ----------
    config
        The TOML file; environment variables count as well.
    json
        Print JSON instead of TOML.
    """
    found = load(config)
    if json:
        print(msgspec.json.encode(found, enc_hook=str).decode())
    else:
        print(plain_toml(found), end="")


@app.command
def memory(
    *, config: Path | None = None, json: Annotated[bool, Parameter(negative="")] = False
) -> None:
    """Print how much memory the relay can be made to hold, beside what it holds when it is idle.

    Parameters
    ----------
    config
        The TOML file; environment variables count as well.
    json
        Print JSON, in bytes.
    """
    # It adds up the limits of every part, and so imports most of the program.
    from relay.memory import human, most_bytes, parts

    found = load(config)
    if json:
        listed = [part._asdict() | {"bytes": part.bytes} for part in parts(found)]
        print(msgspec.json.encode({"bytes": most_bytes(found), "parts": listed}).decode())
        return
    for part in parts(found):
        print(_line(part, human(part.bytes)))
    print(f"{'in all':{_NAME_COLUMNS}}{human(most_bytes(found)):>{_SIZE_COLUMNS}}")


def _line(part: Part, size: str) -> str:
    line = f"{part.name:{_NAME_COLUMNS}}{size:>{_SIZE_COLUMNS}}"
    return line if part.number == 1 else f"{line}  {part.number:,} × {part.bytes_each:,} bytes"


@app.command
def init(file: Path = DEFAULT_FILE, /) -> None:
    """Write a configuration file with every setting, its meaning and its default.

    Parameters
    ----------
    file
        Where to write it. An existing file is left alone.
    """
    try:
        with file.open("x", encoding="utf-8") as new:
            new.write(annotated_toml(Config()))
    except FileExistsError:
        raise CommandError(
            ExitCode.CANNOT_CREATE,
            f"{file} was not written",
            "there is a file of that name",
            "Name another file, or move that one away.",
        ) from None
    except OSError as error:
        raise CommandError(
            ExitCode.CANNOT_CREATE,
            f"{file} was not written",
            error.strerror or type(error).__name__,
            "Check the directory and its permissions.",
        ) from None
    print(f"Wrote {file}. Start with: ksmp-relay serve --config {file}")
