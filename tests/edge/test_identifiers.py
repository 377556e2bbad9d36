"""Ids: every row of the table, in every way."""

from __future__ import annotations

from tests.edge.case import Case, Way
from tests.edge.identifiers import CASES
from tests.edge.rows import RunRow, every_way


@every_way(CASES)
async def test_string_names_something_or_is_refused_in_every_field(
    case: Case, way: Way, transport: str, run_row: RunRow
) -> None:
    await run_row(case, way, transport)
