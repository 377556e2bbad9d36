"""Auth: every row of the table, in every way."""

from __future__ import annotations

import pytest

from tests.edge.auth import CASES
from tests.edge.case import Case, Way
from tests.edge.refresh import WAITING
from tests.edge.rows import TRANSPORTS, RunRow, RunRows, every_way


@every_way([case for case in CASES if case not in WAITING])
async def test_token_lets_in_whom_it_names_or_gets_the_one_answer(
    case: Case, way: Way, transport: str, run_row: RunRow
) -> None:
    await run_row(case, way, transport)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_token_that_ends_while_connected_ends_the_connection(
    transport: str, run_rows_together: RunRows
) -> None:
    await run_rows_together(WAITING, transport)
