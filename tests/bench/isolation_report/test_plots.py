"""The pictures: small, the same each time, with the worst in them."""

from __future__ import annotations

import hashlib
import math
import os
import re
import subprocess
import sys
from array import array
from functools import cache
from pathlib import Path
from typing import get_args
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from bench.isolation.plots import draw
from bench.isolation.plots.distribution import draw_distribution
from bench.isolation.plots.latency import draw_latency
from bench.isolation.plots.restarts import draw_restarts
from bench.isolation.timeline import Happening, Moment, Series, Timeline
from bench.pages.canvas import Picture, look
from tests.bench.isolation_report.synthetic import EXPERIMENT, findings, timeline

REPOSITORY = Path(__file__).parents[3]
SVG = "{http://www.w3.org/2000/svg}"
HREF = "{http://www.w3.org/1999/xlink}href"
SVG_AT_MOST = 300_000
NAMES = {"latency", "distribution", "restarts"}


@cache
def drawn() -> dict[str, Picture]:
    return {picture.name: picture for picture in draw(timeline(300_000), findings())}


def latency_of(seen: Timeline) -> Picture:
    with look():
        return draw_latency(seen, findings())


def distribution_of(seen: Timeline) -> Picture:
    with look():
        return draw_distribution(seen, findings())


def restarts_of(seen: Timeline) -> Picture:
    with look():
        return draw_restarts(seen, findings())


def texts(picture: Picture) -> str:
    """What is written in it: letters are drawn, and what they spell stands in comments."""
    return "\n".join(re.findall(r"<!-- (.*?) -->", picture.svg.decode(), re.DOTALL))


def group(picture: Picture, gid: str) -> ET.Element:
    found = ET.fromstring(picture.svg).find(f".//{SVG}g[@id='{gid}']")
    assert found is not None, gid
    return found


def points(element: ET.Element) -> list[tuple[float, float]]:
    """Where the lines of a compound path begin."""
    path = element.find(f"{SVG}path")
    assert path is not None
    pairs = re.findall(r"M ([\d.-]+) ([\d.-]+)", path.get("d", ""))
    return [(float(x), float(y)) for x, y in pairs]


def ring(picture: Picture, gid: str) -> tuple[float, float]:
    use = group(picture, gid).find(f".//{SVG}use")
    assert use is not None
    return float(use.get("x", "")), float(use.get("y", ""))


def wild(seed: int, count: int) -> Series:
    chance = np.random.default_rng(seed)
    ack_ms = 10 ** chance.uniform(-1, 4.5, count)
    ack_ms[chance.random(count) < 0.05] = math.inf
    at_s = np.sort(chance.uniform(0, 60, count))
    return Series(array("d", at_s), array("d", ack_ms), array("d", ack_ms * 1.1))


def test_each_picture_is_drawn_as_svg_and_as_png():
    assert set(drawn()) == NAMES
    for picture in drawn().values():
        assert ET.fromstring(picture.svg).tag == f"{SVG}svg"
        assert picture.png.startswith(b"\x89PNG\r\n")
        assert picture.title
        assert picture.alt


def test_300_000_sends_make_a_small_picture():
    assert {name: len(one.svg) for name, one in drawn().items() if len(one.svg) > SVG_AT_MOST} == {}


def test_even_noise_and_30_000_moments_make_a_small_picture():
    chance = np.random.default_rng(1)
    moments = [
        Moment(float(at_s), what)
        for what in get_args(Happening)
        for at_s in chance.uniform(0, 60, 5_000)
    ]
    noise = Timeline(EXPERIMENT.phases, wild(2, 200_000), wild(3, 100_000), moments)

    assert len(latency_of(noise).svg) < SVG_AT_MOST
    assert len(restarts_of(noise).svg) < SVG_AT_MOST


def test_pictures_refer_to_nothing_outside_and_name_no_date_nor_maker():
    for picture in drawn().values():
        for element in ET.fromstring(picture.svg).iter():
            assert element.tag not in (f"{SVG}script", f"{SVG}image", f"{SVG}metadata")
            assert element.get(HREF, "#").startswith("#")
        assert b"matplotlib" not in re.sub(rb'id="matplotlib\.axis_\d"', b"", picture.svg).lower()
        assert b"matplotlib" not in picture.png.lower()


def test_equal_experiments_make_equal_bytes_without_pyplot_in_any_process(tmp_path):
    script = (
        "import hashlib, sys\n"
        "from bench.isolation.plots import draw\n"
        "from tests.bench.isolation_report.synthetic import findings, timeline\n"
        "for one in draw(timeline(3_000), findings()):\n"
        "    print(hashlib.sha256(one.svg + one.png).hexdigest())\n"
        "print('matplotlib.pyplot' in sys.modules)\n"
    )
    # Neither the seed of hashes nor what somebody likes to see in pictures makes a difference.
    (tmp_path / "matplotlibrc").write_text("font.size: 20\naxes.facecolor: red\nsvg.hashsalt: x\n")
    changed = {"PYTHONHASHSEED": "7", "MATPLOTLIBRC": str(tmp_path), "PYTHONPATH": str(REPOSITORY)}

    printed = subprocess.run(
        [sys.executable, "-c", script],
        cwd=REPOSITORY,
        env=os.environ | changed,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout.split()

    here = draw(timeline(3_000), findings())
    assert printed == [*(hashlib.sha256(one.svg + one.png).hexdigest() for one in here), "False"]


@pytest.mark.parametrize("name", ["bystanders", "victims"])
def test_the_worst_sample_of_many_is_in_the_drawing(name):
    planted = timeline(100_000, never=0)
    series = planted.bystanders if name == "bystanders" else planted.victims
    index = len(series.ack_ms) // 3
    series.ack_ms[index] = 777_777.0

    picture = latency_of(planted)

    x, y = ring(picture, f"{name}-worst")
    seen = points(group(picture, f"{name}-samples"))
    assert min(seen, key=lambda point: point[1]) == pytest.approx((x, y), abs=0.02)
    assert "worst 777.8 s" in texts(picture)


def test_a_send_that_was_never_acked_is_shown_at_the_upper_edge_as_never():
    planted = timeline(3_000, never=5)
    planted.bystanders.ack_ms[100] = math.inf

    picture = latency_of(planted)

    assert texts(picture).split("\n").count("never") == 2  # a label on each of the two scales
    assert "1 never acked" in texts(picture)
    assert "5 never acked" in texts(picture)
    _, y = ring(picture, "bystanders-worst")
    finite = sorted(y for _, y in points(group(picture, "bystanders-samples")))
    assert finite[0] == pytest.approx(y, abs=0.02)
    assert finite[1] > y + 5


def test_where_all_were_acked_nothing_says_never():
    assert "never" not in texts(latency_of(timeline(3_000, never=0)))


def test_a_distribution_ends_at_the_worst_of_each_curve():
    planted = timeline(100_000, never=0)
    began_s, ended_s = planted.phases["fault"]
    inside = next(i for i, at_s in enumerate(planted.bystanders.meant_at_s) if at_s > began_s + 1)
    planted.bystanders.ack_ms[inside] = 500_000.0

    picture = distribution_of(planted)

    x_fault, _ = ring(picture, "bystanders-fault-worst")
    x_baseline, _ = ring(picture, "bystanders-baseline-worst")
    x_victims, _ = ring(picture, "victims-fault-worst")
    assert x_baseline < x_victims < x_fault
    assert ended_s > began_s


def test_titles_say_what_was_found_and_bounds_are_drawn():
    spelled = {name: texts(picture) for name, picture in drawn().items()}

    assert "Isolated: bystanders' ack p99 was 3.40 ms" in spelled["latency"]
    assert "allowed p99, 13.1 ms (I17)" in spelled["latency"]
    assert "allowed worst, 253 ms (I17)" in spelled["latency"]
    assert "allowed p99 of bystanders, 13.1 ms (I17)" in spelled["distribution"]
    assert "400 restarts, 12 quarantines, 40 dead letters" in spelled["restarts"]


def test_every_kind_of_moment_is_counted_and_marked():
    moments = [
        Moment(25.0 + 3 * at, what)
        for count, what in enumerate(get_args(Happening), 1)
        for at in range(count)
    ]
    usual = timeline(3_000)
    counted = Timeline(usual.phases, usual.bystanders, usual.victims, moments)

    latency, restarts = latency_of(counted), restarts_of(counted)

    for count, what in enumerate(get_args(Happening), 1):
        assert f"{what}: {count}" in texts(latency)
        assert f"{what}: {count}" in texts(restarts)
        marks = points(group(latency, f"moments-{what.replace(' ', '-')}"))
        assert len(marks) == count


def test_pictures_say_what_they_leave_out():
    assert "latest of its cell" in texts(drawn()["latency"]).replace("\n", " ")
    assert "at most" in texts(drawn()["distribution"])
    assert "at most" in texts(drawn()["restarts"])


def test_an_experiment_in_which_nothing_was_seen_is_drawn_all_the_same():
    nothing = Timeline(EXPERIMENT.phases, Series(), Series(), [])

    latency, _, restarts = draw(nothing, findings())

    assert "no sends to victims" in texts(latency)
    assert "nothing was recorded" in texts(restarts)


def test_an_experiment_in_which_nothing_was_acked_is_drawn_all_the_same():
    lost = Series(array("d", [1.0, 30.0]), array("d", [math.inf] * 2), array("d", [math.inf] * 2))

    latency, *_ = draw(Timeline(EXPERIMENT.phases, lost, lost, []), findings())

    assert "2 never acked" in texts(latency)
