"""Encoding: every row of the table, in every way."""

from __future__ import annotations

from tests.edge.case import Case, Way
from tests.edge.encoding import CASES
from tests.edge.rows import RunRow, every_way


@every_way(CASES)
async def test_message_that_is_oddly_written_gets_exactly_its_answer(
    case: Case, way: Way, transport: str, run_row: RunRow
) -> None:
    await run_row(case, way, transport)
