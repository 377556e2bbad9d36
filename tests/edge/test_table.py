"""The table is what it says: complete, unambiguous, and the same as the page people read."""

from __future__ import annotations

from pathlib import Path

from tests.edge import table


def test_page_about_bad_input_is_the_table() -> None:
    written = (Path(__file__).parents[2] / "docs" / "bad-input.md").read_text()
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
