"""The whole table, and the page that is made of it: `python -m tests.edge.table` prints it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Final

from tests.edge import (
    arrivals,
    auth,
    encoding,
    endings,
    frames,
    handshake,
    identifiers,
    judgement,
    state,
    upgrades,
)
from tests.edge.case import Case

CASES: Final[list[Case]] = [
    *handshake.CASES,
    *upgrades.CASES,
    *arrivals.CASES,
    *arrivals.WAITING,
    *judgement.CASES,
    *frames.CASES,
    *endings.CASES,
    *encoding.CASES,
    *identifiers.CASES,
    *state.CASES,
    *auth.CASES,
]
"""Every row, in the order of the page."""

PROTOCOL: Final = Path(__file__).parents[2] / "docs" / "protocol.md"

INTRODUCTION: Final = """\
# Bad input

Strangers send anything. This page lists {count} things that no good client sends, or that a good
one sends at the very edge of what it may, and says exactly what comes back. It is for people who
write clients and meet one of these answers, and for those who want to know what has been tried.

Each row was written from [the protocol](protocol.md) and is a test under `tests/edge`. It is run on
both WebSocket transports and in three ways: alone, on a fresh connection; after ten good events;
and while another client sends one message after the other and measures how soon each is
acknowledged. It passes only if

- the answer is the one in the table, and nothing else comes: a refused handshake has its status,
  headers and body, and its line is closed; a close has its code and no words; an error has its
  code, its hints and the event it is about;
- what still has to work does: a connection that goes on acknowledges a good send, another
  connection of the same user was not touched, and the other client lost nothing and got everything
  in order;
- the relay lives, and holds not one task, descriptor or connection more than before;
- nothing of what was sent is in what the relay printed, its log at debug, in any usual encoding,
  nor in the name of a file.

Where the transport `trio-websocket` answers otherwise, the row says so. The page is generated:
after a change, `python -m tests.edge.table > docs/bad-input.md`.
"""


def page() -> str:
    """docs/bad-input.md as it must be."""
    parts = [INTRODUCTION.format(count=f"{len(CASES):,}")]
    parts += ["\n".join(_section(group, list(rows))) for group, rows in _groups()]
    anchors = headings()
    used = sorted({row.clause for row in CASES})
    parts += ["\n".join(f"[{title}]: protocol.md#{anchors[title]}" for title in used)]
    return "\n".join(parts) + "\n"


def headings() -> dict[str, str]:
    """The titles of the sections of docs/protocol.md, without their marks, and their anchors."""
    titles = re.findall(r"^##+ (.+)$", PROTOCOL.read_text(), re.MULTILINE)
    return {re.sub(r" \*\(.+\)\*$", "", title).strip("`"): _anchor(title) for title in titles}


def _groups() -> Iterator[tuple[str, Iterator[Case]]]:
    return groupby(CASES, key=lambda case: case.group)


def _section(group: str, rows: list[Case]) -> Iterator[str]:
    yield f"## {group}"
    yield ""
    yield "| input | answer | decided in |"
    yield "|---|---|---|"
    for row in rows:
        answer = row.answer
        if row.deviation is not None:
            answer += f"; on `trio-websocket` {row.deviation}"
        yield f"| {_cell(row.input)} | {_cell(answer)} | [{row.clause}] |"
    yield ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*")


def _anchor(title: str) -> str:
    """As renderers of Markdown make it: lower case, nothing but words, hyphens for spaces."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


if __name__ == "__main__":
    print(page(), end="")
