"""Who sends next in a load, and where."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from bench.cast import zipf


def draws(seed: int, ranks: int, amount: int) -> list[int]:
    draw = zipf(ranks, Random(seed))
    return [draw() for _ in range(amount)]


def test_draws_follow_zipfs_law() -> None:
    counts = Counter(draws(1, 1_000, 200_000))

    harmonic = sum(1 / rank for rank in range(1, 1_001))
    for rank in (1, 2, 10, 100):
        assert counts[rank - 1] / 200_000 == pytest.approx(1 / rank / harmonic, rel=0.1)
    assert set(counts) <= set(range(1_000))


def test_the_same_seed_draws_the_same() -> None:
    assert draws(7, 50, 100) == draws(7, 50, 100) != draws(8, 50, 100)
