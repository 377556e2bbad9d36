"""Damage counts as found, or as nothing; anything else is broken, and told by place and table."""

from __future__ import annotations

import random
from pathlib import Path
from typing import cast

import pytest

from bench.torture.crowd import TorturedCrowd
from bench.torture.errors import BrokenError
from bench.torture.examining import Examined
from bench.torture.faults import damage
from bench.torture.relay import TorturedRelay
from bench.torture.scene import Scene

BEFORE = Examined((), 3, {"log": "a", "reads": "b"}, 2, ({"log": "c", "reads": "b"},))
SHORTER = BEFORE.shorter[0]


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """Where only counting is done."""
    nobody = cast("TorturedRelay", None), cast("TorturedCrowd", None)
    return Scene(*nobody, random.Random(1), 0, tmp_path)


def test_what_verify_complains_of_is_found(scene: Scene) -> None:
    damage._judge(scene, "a bit", Examined(("page 3",)), BEFORE)

    assert scene.tally == {damage.FOUND: 1}


def test_the_same_rows_show_that_nothing_was_there(scene: Scene) -> None:
    damage._judge(scene, "a bit", Examined((), 3, dict(BEFORE.tables)), BEFORE)

    assert scene.tally == {damage.NOTHING_THERE: 1}


def test_the_rows_without_the_last_frame_show_that_it_was_taken_for_torn(scene: Scene) -> None:
    told = Examined((), 2, dict(SHORTER))
    damage._judge(scene, "a bit", told, BEFORE, [SHORTER], damage.LAST_FRAME)

    assert scene.tally == {damage.LAST_FRAME: 1}


@pytest.mark.parametrize("shorter", [[], [{"log": "d", "reads": "b"}]])
def test_other_rows_that_verify_does_not_complain_of_are_broken(
    scene: Scene, shorter: list[dict[str, str]]
) -> None:
    with pytest.raises(BrokenError, match="bit 3 changed log, and verify finds nothing"):
        damage._judge(scene, "bit 3", Examined((), 3, dict(SHORTER)), BEFORE, shorter)


def test_a_check_that_dies_of_it_is_broken(scene: Scene) -> None:
    with pytest.raises(BrokenError, match="verify did not survive it"):
        damage._judge(scene, "bit 3", None, BEFORE)


def test_places_are_mostly_where_something_is(scene: Scene) -> None:
    content = bytes(8_192) + b"\1" * 10_000 + bytes(1_000_000)

    places = [damage._somewhere(random.Random(seed), content) for seed in range(500)]

    assert all(0 <= place < len(content) for place in places)
    assert sum(place < 18_192 for place in places) > 400
    assert any(place > 18_192 for place in places)
    assert sum(place < 8_192 for place in places) > 50
