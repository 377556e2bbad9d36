"""Latencies at microsecond resolution, cheap enough to be taken of every message."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from hdrh.codec import HdrCookieException, HdrLengthException
from hdrh.histogram import HdrHistogram
from msgspec import Struct

MAX_MICROSECONDS: Final = 3_600_000_000
SIGNIFICANT_FIGURES: Final = 3

# What its decoder raises; of base64 it is a ValueError.
_NO_HISTOGRAM: Final = (
    HdrCookieException,
    HdrLengthException,
    zlib.error,
    LookupError,
    TypeError,
    ValueError,
)


class Percentiles(Struct, frozen=True):
    """In milliseconds; zero where nothing was measured."""

    p50: float
    p99: float
    p999: float


class Histogram:
    """An HDR histogram, from a microsecond to an hour, to three significant figures."""

    def __init__(self, counts: Mapping[int, int] | None = None) -> None:
        self._hdr = HdrHistogram(1, MAX_MICROSECONDS, SIGNIFICANT_FIGURES)
        for microseconds, count in (counts or {}).items():
            self._hdr.record_value(min(max(microseconds, 1), MAX_MICROSECONDS), count)

    @property
    def percentiles(self) -> Percentiles:
        """The 50th, 99th and 99.9th percentile."""
        p50, p99, p999 = (
            self._hdr.get_value_at_percentile(percentile) / 1_000 for percentile in (50, 99, 99.9)
        )
        return Percentiles(p50, p99, p999)

    @property
    def encoded(self) -> str:
        """In microseconds, as HDR histograms are exchanged: version 2, compressed, in base64."""
        return str(self._hdr.encode().decode("ascii"))

    def add(self, encoded: str) -> None:
        """All samples of another one.

        Raises:
            ValueError: it is no histogram.
        """
        try:
            self._hdr.add(HdrHistogram.decode(encoded))
        except _NO_HISTOGRAM:
            raise ValueError("this is no HDR histogram") from None

    def buckets(self) -> Iterator[tuple[float, int]]:
        """Milliseconds and how many took about that long, ascending; none of them is empty."""
        for bucket in self._hdr.get_recorded_iterator():
            yield bucket.value_iterated_to / 1_000, bucket.count_at_value_iterated_to


def sum_of(encoded: Iterable[str]) -> Histogram:
    """Of the samples of all of these.

    Raises:
        ValueError: one of them is no histogram.
    """
    together = Histogram()
    for one in encoded:
        together.add(one)
    return together


class Latencies:
    """Counts per microsecond while the load runs, a histogram when it has ended.

    A dictionary entry costs a tenth of what the pure-Python histogram takes per value.
    """

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}

    def record(self, seconds: float) -> None:
        """Count one latency."""
        microseconds = int(seconds * 1_000_000)
        self._counts[microseconds] = self._counts.get(microseconds, 0) + 1

    def histogram(self) -> Histogram:
        """Of all that were counted."""
        return Histogram(self._counts)

    def percentiles(self) -> Percentiles:
        """The 50th, 99th and 99.9th percentile, to three significant figures."""
        return self.histogram().percentiles
