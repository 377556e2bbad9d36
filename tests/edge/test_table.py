"""The table is what it says: complete, unambiguous, and the same as the page people read."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Final

from tests.edge import table

DOCS: Final = Path(__file__).parents[2] / "docs"


def test_page_about_bad_input_is_the_table() -> None:
    written = (DOCS / "bad-input.md").read_text()
    assert written == table.page(), "python -m tests.edge.table > docs/bad-input.md"


def test_no_two_rows_of_a_group_have_the_same_name() -> None:
    names = [(row.group, row.input) for row in table.CASES]
    assert len(names) == len(set(names))


def test_every_row_names_a_section_of_the_protocol() -> None:
    assert {row.clause for row in table.CASES} <= set(table.headings())


def test_rows_of_a_group_stand_together() -> None:
    groups = [row.group for row in table.CASES]
    changes = [now for before, now in zip(["", *groups], groups, strict=False) if now != before]
    assert len(changes) == len(set(changes))


def test_page_about_reliability_counts_the_rows_of_each_group() -> None:
    page = (DOCS / "reliability.md").read_text()
    counted = dict(re.findall(r"^\| (\w+) \| (\d+) \| all as in the table", page, re.MULTILINE))
    assert {group: int(rows) for group, rows in counted.items()} == Counter(
        row.group for row in table.CASES
    )
