"""How soon the bystanders' messages were acknowledged while others sent bad input, by group.

Each test carries its figures in its report, so that they reach whoever sums them up from whatever
process it ran in.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Final

PROPERTY: Final = "edge"
"""The name under which a test's report carries `{"group": …, "seconds": […]}`."""

Figures = dict[str, float]


def summed_up(properties: Iterable[tuple[str, object]]) -> dict[str, Figures]:
    """For each group: how many messages, and after how many milliseconds they were acked."""
    seconds: defaultdict[str, list[float]] = defaultdict(list)
    for name, value in properties:
        if name == PROPERTY and isinstance(value, dict):
            seconds[value["group"]] += value["seconds"]
    return {group: _figures(sorted(all_of_it)) for group, all_of_it in seconds.items() if all_of_it}


def _figures(ordered: list[float]) -> Figures:
    return {
        "acked": len(ordered),
        "median_ms": round(1_000 * median(ordered), 2),
        "p99_ms": round(1_000 * ordered[len(ordered) * 99 // 100], 2),
        "worst_ms": round(1_000 * ordered[-1], 2),
    }


def lines(groups: dict[str, Figures]) -> list[str]:
    """One line for each group, for people."""
    return [
        f"beside bad input, {group}: {figures['acked']:.0f} messages, all acked; median "
        f"{figures['median_ms']} ms, p99 {figures['p99_ms']} ms, worst {figures['worst_ms']} ms"
        for group, figures in groups.items()
    ]


def write(groups: dict[str, Figures], path: Path) -> None:
    """The same as JSON."""
    path.write_text(json.dumps(groups, indent=2) + "\n")
