"""What is done to a store that no relay is running on: `verify` and `new-epoch`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter

from relay.commands.loading import load
from relay.exits import ExitCode
from relay.system import new_epoch as fresh_epoch
from storage.epoch import begin_new_epoch
from storage.verify import Verification
from storage.verify import verify as verify_store


def verify(
    *,
    data: Path | None = None,
    config: Path | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Check a store: its structure, every chain, and that log, inboxes, keys and heads agree.

    Nothing is changed. Exits with 1 when something is wrong.

    Parameters
    ----------
    data
        The data directory.
    config
        The TOML file that names the data directory.
    json
        Print JSON on standard output.
    """
    verification = verify_store(load(config, data=data).store.directory)
    if json:
        sys.stdout.buffer.write(msgspec.json.encode(verification) + b"\n")
    else:
        _print(verification)
    return ExitCode.OK if verification.ok else ExitCode.FAILED


def _print(verification: Verification) -> None:
    for problem in verification.problems:
        print(problem)
    verdict = "The store is sound" if verification.ok else f"{len(verification.problems)} problems"
    print(
        f"{verdict}: {verification.records:,} records, {verification.conversations:,} "
        f"conversations, {verification.inboxes:,} inboxes."
    )


def new_epoch(*, data: Path | None = None, config: Path | None = None) -> None:
    """Begin a new epoch, so that clients learn that this store is a copy from some earlier moment.

    They then resume from the start and offer again what the copy has lost. Do this once to any
    restored or copied store, before a relay runs on it.

    Parameters
    ----------
    data
        The data directory.
    config
        The TOML file that names the data directory.
    """
    print(begin_new_epoch(load(config, data=data).store.directory, fresh_epoch))
