"""Results of benchmarks that nobody has run."""

from __future__ import annotations

from typing import Final

import msgspec

from bench.checker.check import Report
from bench.checker.order import Order
from bench.latency import Percentiles
from bench.ordering import OrderingReport

CHECKED: Final = Report("0", None, 1.0, 9, 9, 9, 0, True, True, Order(checked=9), ())


def ordering_report(
    acked_per_s: float, *, is_good: bool = True, generator_bound: bool = False
) -> OrderingReport:
    """Of one run, all good but for what is said."""
    return OrderingReport(
        pairs=1,
        in_flight=1,
        size=1,
        seconds=1.0,
        acked_per_s=acked_per_s,
        delivered_per_s=acked_per_s,
        ack_ms=Percentiles(1.0, 2.0, 3.0),
        delivery_ms=Percentiles(1.0, 2.0, 3.0),
        order=Order(checked=9),
        checker=msgspec.structs.replace(CHECKED, ok=is_good),
        unanswered=0,
        undelivered=0,
        rate_limited=0,
        retried=0,
        generator_cpu=0.9,
        generator_bound=generator_bound,
        relay_cpu=None,
        limits_lifted=(),
    )
