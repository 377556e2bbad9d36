"""Pictures of a sweep, also of one in which hardly anything came."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from msgspec.structs import replace

from bench.latency import Histogram, Percentiles
from bench.offered.plots import draw
from bench.offered.sweep import LatencyReport, LoadRun, load_of
from tests.bench.pages.made_up import run


def without_answers(unacked: int) -> LoadRun:
    good, nothing, encoded = run(100.0), Percentiles(0.0, 0.0, 0.0), Histogram().encoded
    figures = replace(
        good.figures,
        acked_per_s=0.0,
        delivered_per_s=0.0,
        ack_ms=nothing,
        delivery_ms=nothing,
        worst_ack_ms=0.0,
        worst_delivery_ms=0.0,
        unacked=unacked,
        undelivered=unacked,
        ack_histogram=encoded,
        delivery_histogram=encoded,
    )
    return replace(good, figures=figures)


@pytest.mark.parametrize("unacked", [0, 100])
def test_a_load_to_which_nothing_was_answered_is_drawn_as_well(unacked: int) -> None:
    report = LatencyReport(None, 2, 64, 1.0, 7, (load_of(100.0, [without_answers(unacked)]),))

    for picture in draw(report):
        assert ET.fromstring(picture.svg).tag.endswith("svg")
        assert picture.png.startswith(b"\x89PNG")
