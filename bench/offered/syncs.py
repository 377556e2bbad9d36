"""How long the syncs of a relay took while it was measured: no ack is sooner than one of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from math import inf
from typing import Final

from msgspec import Struct

from bench.metrics import metrics_of
from bench.pages.wording import UNKNOWN
from bench.relay_of_its_own import Admin
from storage.commit_meter import SECONDS_BOUNDS

SYNCS: Final = "ksmp_sync_seconds"


class Syncs(Struct, frozen=True):
    """The relay counts them in buckets: a figure is the bound of one, at or below which it was.

    Bounds are in milliseconds. Null is longer than the largest of them; where there were no syncs,
    no figure has a bound either.
    """

    count: int
    p50_at_most_ms: float | None
    p99_at_most_ms: float | None
    worst_at_most_ms: float | None
    buckets: tuple[tuple[float | None, int], ...]
    """How many syncs were at or below each bound and above the one before; none is empty."""


def syncs_between(began: Mapping[float, int], ended: Mapping[float, int]) -> Syncs:
    """Of two readings of the relay's histogram, which counts up to each bound, in seconds."""
    counts: dict[float, int] = {}
    before = 0
    for bound, count in sorted(ended.items()):
        since = count - began.get(bound, 0)
        counts[round(bound * 1_000, 6)] = since - before
        before = since
    return _syncs(counts)


def sum_of_syncs(parts: Iterable[Syncs | None]) -> Syncs | None:
    """All of several runs; None where a run has none."""
    counts: Counter[float] = Counter()
    for part in parts:
        if part is None:
            return None
        for bound, count in part.buckets:
            counts[inf if bound is None else bound] += count
    return _syncs(counts)


def in_words(syncs: Syncs | None) -> tuple[str, str, str]:
    """The bounds below which half of them were, 99 % of them, and all."""
    if syncs is None or not syncs.count:
        return UNKNOWN, UNKNOWN, UNKNOWN
    return (
        _in_words(syncs.p50_at_most_ms),
        _in_words(syncs.p99_at_most_ms),
        _in_words(syncs.worst_at_most_ms),
    )


def _in_words(bound_ms: float | None) -> str:
    return f"> {SECONDS_BOUNDS[-1]:g} s" if bound_ms is None else f"≤ {bound_ms:g} ms"


def _syncs(counts: Mapping[float, int]) -> Syncs:
    full = {bound: counts[bound] for bound in sorted(counts) if counts[bound]}
    count = sum(full.values())

    def at_most(share: float) -> float | None:
        so_far = 0
        for bound, number in full.items():
            so_far += number
            if so_far >= share * count:
                return _said(bound)
        return None

    buckets = tuple((_said(bound), number) for bound, number in full.items())
    return Syncs(count, at_most(0.5), at_most(0.99), at_most(1.0), buckets)


def _said(bound: float) -> float | None:
    """JSON has no infinity."""
    return None if bound == inf else bound


class SyncMeter:
    """Reads the relay's own count of its syncs twice; of a relay that tells nobody, None."""

    def __init__(self, admin: Admin | None) -> None:
        self._admin = admin
        self._began: Mapping[float, int] = {}
        self.syncs: Syncs | None = None

    def begin(self) -> None:
        """From now on they count.

        Raises:
            RunError: the relay does not tell.
        """
        if self._admin is not None:
            self._began = metrics_of(self._admin).histogram(SYNCS)

    def end(self) -> None:
        """Up to now they have counted.

        Raises:
            RunError: the relay does not tell.
        """
        if self._admin is not None:
            self.syncs = syncs_between(self._began, metrics_of(self._admin).histogram(SYNCS))
