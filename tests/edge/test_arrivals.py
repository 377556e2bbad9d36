"""Handshakes that come in pieces, late, or with two faults: every row, in every way."""

from __future__ import annotations

import pytest

from tests.edge import arrivals, judgement
from tests.edge.case import Case, Profile, Way
from tests.edge.rows import TRANSPORTS, RunRow, RunRows, every_way


@every_way([*arrivals.CASES, *judgement.CASES])
async def test_bad_arrival_gets_its_exact_answer_and_leaves_nothing_behind(
    case: Case, way: Way, transport: str, run_row: RunRow
) -> None:
    await run_row(case, way, transport)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("profile", [Profile.HASTY, Profile.TLS])
async def test_handshake_that_does_not_come_gets_its_exact_answer_in_time(
    profile: Profile, transport: str, run_rows_together: RunRows
) -> None:
    rows = [case for case in arrivals.WAITING if case.profile is profile]
    await run_rows_together(rows, transport)
