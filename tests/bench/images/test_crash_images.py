"""Whatever a crash leaves of a real store, it opens, has what it promised, and goes on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import pytest
import trio

from bench.images.campaign import Campaign

IMAGES: Final = int(os.environ.get("CRASH_IMAGES", "3000"))
RECORDINGS: Final = 5


@pytest.mark.usefixtures("strace")
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_image_of_a_real_store_keeps_what_was_promised(tmp_path: Path) -> None:
    campaign = Campaign(tmp_path, range(1, RECORDINGS + 1), IMAGES // RECORDINGS)

    trio.run(campaign.run, 1)

    failures = [one for seed in campaign.seeds for one in campaign.progress[seed].failures]
    assert failures == []
    assert campaign.examined == IMAGES
