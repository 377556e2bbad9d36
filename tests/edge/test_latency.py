"""The figures of the bystanders are those of their messages."""

from __future__ import annotations

from tests.edge.latency import PROPERTY, summed_up


def test_figures_of_a_group_are_those_of_all_its_tests() -> None:
    properties = [
        (PROPERTY, {"group": "Frames", "seconds": [0.001] * 60}),
        ("something else", 1),
        (PROPERTY, {"group": "Frames", "seconds": [0.003] * 39 + [0.25]}),
        (PROPERTY, {"group": "State", "seconds": [0.002]}),
    ]

    frames = {"acked": 100, "median_ms": 1.0, "p99_ms": 250.0, "worst_ms": 250.0}
    state = {"acked": 1, "median_ms": 2.0, "p99_ms": 2.0, "worst_ms": 2.0}
    assert summed_up(properties) == {"Frames": frames, "State": state}
