"""What these tests need: strace, and stores that are small."""

from __future__ import annotations

import shutil

import pytest

from bench.images import reserving
from storage import environment


@pytest.fixture(autouse=True)
def strace() -> None:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed: it records what a process does to its files")


@pytest.fixture
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stores reserve little in this process, until the test ends."""
    monkeypatch.setattr(environment, "_RESERVE_BYTES", reserving.LITTLE_BYTES)
