"""A part of a page that a program writes, between two comments; the rest is people's."""

from __future__ import annotations

from pathlib import Path


class PageError(Exception):
    """A page has no such part; the message says which."""


def marks_of(part: str) -> tuple[str, str]:
    """The comments before and after a part."""
    return f"<!-- {part}: written by a program -->", f"<!-- end of {part} -->"


def part_of(page: str, part: str) -> str:
    """What stands between the two comments.

    Raises:
        PageError: they are not there, once and in this order.
    """
    _, inside, _ = _split(page, part)
    return inside


def replaced(page: str, part: str, text: str) -> str:
    """The page with this text between the two comments.

    Raises:
        PageError: they are not there, once and in this order.
    """
    before, _, after = _split(page, part)
    return f"{before}\n{text.strip()}\n{after}"


def write_part(path: Path, part: str, text: str) -> None:
    """Replace a part of the page in this file.

    Raises:
        PageError: it has no such part.
        OSError: it cannot be read, or written.
    """
    page = path.read_text(encoding="utf-8")
    path.write_text(replaced(page, part, text), encoding="utf-8")


def _split(page: str, part: str) -> tuple[str, str, str]:
    begin, end = marks_of(part)
    before, is_begun, rest = page.partition(begin)
    inside, is_ended, after = rest.partition(end)
    if not (is_begun and is_ended) or page.count(begin) + page.count(end) != 2:
        raise PageError(f"the page has no part between {begin} and {end}")
    return before + begin, inside.strip(), end + after
