"""How a command ends: its exit code, and three sentences for whoever typed it.

The codes are those of `sysexits.h`, so that service managers can tell what to do about each.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What a command tells whoever started it."""

    OK = 0
    FAILED = 1  # the answer is no (damage found, order broken), or a fault of this program
    USAGE = 2  # the command line makes no sense
    CANNOT_BIND = 69  # the address is taken, or not ours
    CANNOT_CREATE = 73  # the store or a file cannot be made or opened
    IO = 74  # the store cannot be read, is not there, or has failed in use
    CONFIGURATION = 78  # the configuration cannot be used


class CommandError(Exception):
    """A command cannot go on: what happened, why, and what to do about it.

    Shown as up to three lines. Nothing a client has chosen belongs in it.
    """

    def __init__(self, exit_code: ExitCode, what: str, why: str, what_to_do: str) -> None:
        super().__init__(f"{what}: {why}. {what_to_do}")
        self.exit_code = exit_code
        self.what = what
        self.why = why
        self.what_to_do = what_to_do


def on_one_line(*sentences: str) -> str:
    """The sentences in one line that any log can take, each with its full stop."""
    line = " ".join(f"{sentence.removesuffix('.')}." for sentence in sentences)
    return "".join(sign if sign.isprintable() else "?" for sign in line)
