"""Requests that are no good handshake: every row of those groups, in every way."""

from __future__ import annotations

from tests.edge import handshake, upgrades
from tests.edge.case import Case, Way
from tests.edge.rows import RunRow, every_way


@every_way([*handshake.CASES, *upgrades.CASES])
async def test_bad_handshake_gets_its_exact_answer_and_leaves_nothing_behind(
    case: Case, way: Way, transport: str, run_row: RunRow
) -> None:
    await run_row(case, way, transport)
