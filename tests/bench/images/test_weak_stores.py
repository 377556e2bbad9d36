"""A store that does less for the disk than it should is found out, by few images."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench.images.recorder import record
from bench.images.rounds import examine_images, moments_of
from tests.bench.images import planted

pytestmark = pytest.mark.usefixtures("strace")

MOST_IMAGES = 4_000


@pytest.mark.parametrize("bug", [bug.__name__ for bug in planted.FOUND_IN_CALM])
def test_a_weak_store_is_found_out(tmp_path: Path, little: None, bug: str) -> None:
    program = (sys.executable, "-m", "tests.bench.images.planted", bug)
    recording = record(1, tmp_path, program=program, lives=3, calm=True)

    images = examine_images(recording, 0, MOST_IMAGES, tmp_path / "image")

    assert any(image.problem for image in images)


def test_the_same_without_a_bug_is_sound(tmp_path: Path, little: None) -> None:
    recording = record(1, tmp_path, lives=1, calm=True)

    images = examine_images(recording, 0, len(moments_of(recording)), tmp_path / "image")

    assert {image.problem for image in images} == {None}
