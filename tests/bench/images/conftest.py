"""What these tests need: strace, and stores that are small."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from bench.images.reserving import reserving_little


@pytest.fixture(scope="session")
def strace() -> None:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed: it records what a process does to its files")


@pytest.fixture
def little() -> Iterator[None]:
    """Stores reserve little in this process, until the test ends."""
    with reserving_little():
        yield
