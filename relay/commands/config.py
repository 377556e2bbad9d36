"""`ksmp-relay config`: check a configuration, show the one in force, write one to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import App, Parameter

from relay.commands.loading import load
from relay.config import Config
from relay.config_file import annotated_toml, plain_toml
from relay.exits import CommandError, ExitCode

DEFAULT_FILE = Path("ksmp-relay.toml")

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
