"""The relay agrees with a dumb model through whatever a few users, devices and failures can do.

MODEL_EXAMPLES sets how many examples of 50 steps are played (200, half of them with failures of
actors or of the process). A failing example is printed as steps that can be played again.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from actors import delivery, mailbox
from tests.model.play import play
from tests.model.steps import Case, calm_cases, stormy_cases

EXAMPLES: Final = int(os.environ.get("MODEL_EXAMPLES", "200"))

ALWAYS: Final = {
    "ack",
    "idempotency_conflict",
    "storage_full",
    "cursor_ahead",
    "epoch_changed",
    "already_resumed",
    "resume",
    "replaced",
    "stall",
    "hang-up",
    "join",
}
STORMY: Final = ALWAYS | {"crash of an actor", "crash of the process", "drain"}
RARE: Final = {"rejected"}  # two strikes at one letter: some hundreds of examples have none


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a few records are many pages and many batches."""
    monkeypatch.setattr(delivery, "PAGE_BYTES", 2_000)
    monkeypatch.setattr(delivery, "READ_STATES_PER_PAGE", 2)
    monkeypatch.setattr(mailbox, "BATCH_LETTERS", 4)


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.parametrize(
    ("cases", "expected"),
    [(calm_cases(), ALWAYS), (stormy_cases(), STORMY)],
    ids=["nothing fails but connections", "actors and processes fail"],
)
def test_relay_agrees_with_the_model(cases: st.SearchStrategy[Case], expected: set[str]) -> None:
    happened: Counter[str] = Counter()

    @settings(
        max_examples=EXAMPLES // 2,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
    )
    @given(cases, st.random_module())
    def relay_agrees(case: Case, schedule: object) -> None:
        with TemporaryDirectory() as directory:
            happened.update(play(case, Path(directory) / "store"))
        happened["examples"] += 1

    relay_agrees()

    print(dict(happened))
    assert happened["examples"] >= EXAMPLES // 2
    if EXAMPLES >= 200:
        assert expected <= set(happened), expected - set(happened)
    if EXAMPLES >= 5_000 and expected is STORMY:
        assert set(happened) >= RARE
