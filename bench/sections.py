"""What a page says of each kind of result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

import msgspec
from msgspec import Struct

from bench.cells_result import CellsResult
from bench.cells_section import cells_section
from bench.figures_section import idle_section, replay_section, storm_section
from bench.growth import GrowthReport
from bench.growth_section import growth_section
from bench.idle import IdleReport
from bench.offered.section import latency_section
from bench.offered.sweep import LatencyReport
from bench.pages.report import Shown
from bench.pages.result import Kind, Result, ResultError
from bench.pages.section import Section
from bench.peers.result import PeersReport
from bench.peers.section import peers_section
from bench.replay import ReplayReport
from bench.storm import StormReport

R = TypeVar("R", bound=Struct)


def shown(result: Result) -> Shown:
    """The result, and what a page says of it.

    Raises:
        ResultError: its report is not of its kind.
    """
    try:
        return Shown(result, _SECTIONS[result.kind](bytes(result.report)))
    except (msgspec.MsgspecError, ValueError) as error:
        # A message of a decoder names the field and the type, and none of the values.
        raise ResultError(f"its report cannot be understood: {error}") from None
    except LookupError:
        raise ResultError("its report is empty where something was measured") from None


def _of(kind: type[R], section: Callable[[R], Section]) -> Callable[[bytes], Section]:
    return lambda report: section(msgspec.json.decode(report, type=kind))


_SECTIONS: Final[dict[Kind, Callable[[bytes], Section]]] = {
    "cells": _of(CellsResult, cells_section),
    "latency": _of(LatencyReport, latency_section),
    "growth": _of(GrowthReport, growth_section),
    "replay": _of(ReplayReport, replay_section),
    "storm": _of(StormReport, storm_section),
    "idle": _of(IdleReport, idle_section),
    "peers": _of(PeersReport, peers_section),
}
