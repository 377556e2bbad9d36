"""Results on one page: each with its figures and pictures, then machines, versions and commands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from bench.pages.files import write_whole
from bench.pages.markup import Markup, element
from bench.pages.origin import machine_rows, sync_row, versions_rows
from bench.pages.page import figure, page, texts
from bench.pages.result import KINDS, Result, write_result
from bench.pages.section import Section

REPORT: Final = "report.html"


class Shown(NamedTuple):
    """A result, and what the page says of it."""

    result: Result
    section: Section


def report_html(shown: Sequence[Shown]) -> str:
    """The page, the same for the same results: those of a kind stay in the order they came in."""
    ordered = sorted(shown, key=lambda one: KINDS.index(one.result.kind))
    is_good = all(one.section.is_good for one in ordered)
    title = ordered[0].section.title if len(ordered) == 1 else "The relay, measured"
    said = "Every run was good" if is_good else "Not every run was good"
    return page(
        title,
        element("h1", f"{title}. {said}.", class_="good" if is_good else "bad"),
        *(_contents(ordered) if len(ordered) > 1 else ()),
        *(part for number, one in enumerate(ordered, 1) for part in _section(one, number)),
        *_origin(ordered),
    )


def leave(directory: Path, shown: Shown) -> None:
    """`result.json`, each picture as SVG and PNG, and a page of it all, in a directory.

    Raises:
        OSError: it cannot be written to.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for picture in shown.section.pictures:
        write_whole(directory / f"{picture.name}.svg", picture.svg)
        write_whole(directory / f"{picture.name}.png", picture.png)
    write_whole(directory / REPORT, report_html([shown]).encode())
    write_result(directory, shown.result)


def _contents(shown: Sequence[Shown]) -> Iterator[Markup]:
    links = (
        element("li", element("a", one.section.title, href=f"#{_anchor(one, number)}"), _mark(one))
        for number, one in enumerate(shown, 1)
    )
    yield element("ul", *links)


def _mark(shown: Shown) -> str:
    return "" if shown.section.is_good else ": not every run was good"


def _anchor(shown: Shown, number: int) -> str:
    return f"{shown.result.kind}-{number}"


def _section(shown: Shown, number: int) -> Iterator[Markup]:
    anchor, section = _anchor(shown, number), shown.section
    yield element("h2", section.title, id=anchor)
    yield from section.content
    for picture in section.pictures:
        yield figure(picture._replace(name=f"{anchor}-{picture.name}"))
    yield element("p", f"Measured at {shown.result.written_at}. To do it again:")
    yield element("pre", element("code", shown.result.command), tabindex="0")


def _origin(shown: Sequence[Shown]) -> Iterator[Markup]:
    """What was measured with the same, on the same, is told once."""
    yield element("h2", "Where this comes from")
    places: dict[tuple[tuple[str, str], ...], list[Result]] = {}
    for one in shown:
        rows = (*machine_rows(one.result.machine), *versions_rows(one.result.versions))
        places.setdefault(rows, []).append(one.result)
    for number, results in enumerate(places.values(), 1):
        of = f" {number}" if len(places) > 1 else ""
        machine = (*machine_rows(results[0].machine), *map(_sync, results))
        yield texts(f"Machine{of}: {', '.join(one.kind for one in results)}", machine)
        yield texts(f"Versions{of}", versions_rows(results[0].versions))


def _sync(result: Result) -> tuple[str, str]:
    name, took = sync_row(result.machine)
    return f"{name}, after {result.kind}", took
