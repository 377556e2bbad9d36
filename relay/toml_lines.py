"""Finds the line of a setting in a TOML text, for messages: the standard parser does not tell."""

from __future__ import annotations

import re
from typing import Final

_HEADER: Final = re.compile(r"^\s*\[\s*([^\[\]]+?)\s*\]\s*(?:#.*)?$")
_KEY: Final = re.compile(
    r"""^\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*="""
)
_MULTILINE: Final = ('"""', "'''")


def line_of(text: str, section: str, key: str | None = None) -> int | None:
    """The number, from 1, of the line that sets `key`, or that opens `section`.

    A key inside an inline table is on the line of its table. None when there is no such line.
    """
    wanted = (section,) if key is None else (section, key)
    nearest: int | None = None
    for number, path in _assignments(text):
        if path == wanted:
            return number
        if path == wanted[: len(path)]:
            nearest = nearest or number
    return nearest


def _assignments(text: str) -> list[tuple[int, tuple[str, ...]]]:
    """Every header and every key with its line, as a path from the root."""
    found: list[tuple[int, tuple[str, ...]]] = []
    table: tuple[str, ...] = ()
    inside: str | None = None
    for number, line in enumerate(text.splitlines(), 1):
        if inside is not None:
            inside = None if inside in line else inside
        elif header := _HEADER.match(line):
            table = _path(header[1])
            found.append((number, table))
        elif assignment := _KEY.match(line):
            found.append((number, table + _path(assignment[1])))
            value = line[assignment.end() :]
            inside = next((quote for quote in _MULTILINE if value.count(quote) == 1), None)
    return found


def _path(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))
