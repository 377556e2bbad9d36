"""State: every row of the table, in every way."""

from __future__ import annotations

from tests.edge.case import Case, Way
from tests.edge.rows import RunRow, every_way
from tests.edge.state import CASES


@every_way(CASES)
async def test_good_event_out_of_place_gets_exactly_its_answer(
    case: Case, way: Way, transport: str, run_row: RunRow
) -> None:
    await run_row(case, way, transport)
