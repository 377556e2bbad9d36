"""Frames and closes that are not in order: every row, in every way."""

from __future__ import annotations

from tests.edge import endings, frames
from tests.edge.case import Case, Way
from tests.edge.rows import RunRow, every_way


@every_way([*frames.CASES, *endings.CASES])
async def test_bad_frame_gets_its_exact_answer_and_leaves_nothing_behind(
    case: Case, way: Way, transport: str, run_row: RunRow
) -> None:
    await run_row(case, way, transport)
