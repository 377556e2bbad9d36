"""How rows become tests: every row, in each of the three ways, on each transport."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import pytest

from tests.edge.case import Case, Way

TRANSPORTS: Final = ("websockets", "trio-websocket")

RunRow = Callable[[Case, Way, str], Awaitable[None]]
"""Runs a row in a way against the relay with this transport. A fixture of this name is one."""

RunRows = Callable[[Sequence[Case], str], Awaitable[None]]
"""Runs rows side by side, each in every way. A fixture called `run_rows_together` is one."""


def every_way(rows: Sequence[Case]) -> pytest.MarkDecorator:
    """Parametrise a test over `case`, `way` and `transport`."""
    return pytest.mark.parametrize(
        ("case", "way", "transport"),
        [
            pytest.param(case, way, transport, id=f"{case.input}-{way.value}-{transport}")
            for transport in TRANSPORTS
            for case in rows
            for way in Way
        ],
    )
