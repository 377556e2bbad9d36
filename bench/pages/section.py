"""One result as a part of a page, whichever kind it is of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from bench.checker.check import Report
from bench.checker.printing import excerpt_lines
from bench.pages.markup import Markup, element, together

if TYPE_CHECKING:
    from bench.pages.canvas import Picture


class Section(NamedTuple):
    """Its title, what it says before the pictures, and the pictures."""

    title: str
    is_good: bool
    content: tuple[Markup, ...]
    pictures: tuple[Picture, ...] = ()


def note(text: str) -> Markup:
    """A paragraph beside the figures: how they were come by."""
    return element("p", text, class_="note")


def paragraph(text: str) -> Markup:
    """A sentence or two that matter."""
    return element("p", text)


def verdict(checked: Sequence[Report]) -> Markup:
    """What the history checker says of these runs, with all that contradicts a promise."""
    sends, frames = sum(one.sends for one in checked), sum(one.frames for one in checked)
    bad = sum(not one.ok for one in checked)
    judged = f"The checker judged {sends:,} sends and {frames:,} frames of {len(checked):,} runs. "
    if not bad:
        return paragraph(f"{judged}Nothing contradicts the promises.")
    said = element("p", judged, element("strong", f"{bad:,} of the runs broke a promise."))
    return together(said, *_excerpts(checked))


def _excerpts(checked: Sequence[Report]) -> Iterator[Markup]:
    for report in checked:
        for one in report.verdicts:
            if one.excerpt:
                yield element("pre", "\n".join(excerpt_lines(one)), tabindex="0")
