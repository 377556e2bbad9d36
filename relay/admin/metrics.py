"""The relay's numbers for Prometheus, read from those who own them at the moment of a scrape.

Nothing is counted here: whoever does something counts it, in plain integers. No label names a
user, a device or a conversation: labels are codes of our own. What they mean is in
`docs/operations.md`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from math import inf
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from relay.admin.observed import Observed
from relay.telemetry import LineKind
from storage.histogram import Histogram

OF_LINES: Final[Mapping[str, tuple[str, str, str]]] = {
    "connection.opened": ("ksmp_connections_opened", "Connections admitted and welcomed.", ""),
    "connection.closed": (
        "ksmp_connections_closed",
        "Connections that have ended, by the close code that the relay sent.",
        "code",
    ),
    "connection.refused": (
        "ksmp_handshakes_refused",
        "Handshakes that were refused, by error code.",
        "code",
    ),
    "actor.failed": ("ksmp_failures", "Failures of supervised tasks, by kind.", "kind"),
    "actor.restarted": ("ksmp_restarts", "Restarts of supervised tasks, by kind.", "kind"),
    "actor.quarantined": ("ksmp_quarantines", "Conversations put into quarantine.", ""),
}
"""Counters that are counts of log lines: name, meaning, and what its label is called, if any."""


class RelayCollector(Collector):
    """Every metric of the relay, as it is now."""

    def __init__(self, observed: Observed) -> None:
        self._observed = observed

    def collect(self) -> Iterator[Metric]:
        """All families, for one scrape."""
        yield from self._connections()
        yield from self._messages()
        yield from self._conversations()
        yield from self._storage()
        yield from self._space()
        yield from self._process()
        yield from self._laboratory()

    def _connections(self) -> Iterator[Metric]:
        observed = self._observed
        yield _gauge("ksmp_connections", "Connections that are admitted.", observed.connections())
        yield _gauge("ksmp_handshakes", "Handshakes in progress.", observed.handshakes())
        for event, (name, meaning, label) in OF_LINES.items():
            yield _of_lines(name, meaning, label, event, observed.lines)

    def _messages(self) -> Iterator[Metric]:
        traffic = self._observed.traffic
        for name, meaning, value in (
            ("ksmp_received", "Messages received from clients, of every kind.", traffic.received),
            ("ksmp_received_bytes", "Bytes of those messages.", traffic.received_bytes),
            ("ksmp_sends", "Sends handed to their conversation.", traffic.sends),
            ("ksmp_acks", "Acknowledgements of sends.", traffic.acks),
            ("ksmp_frames", "Records sent to connections.", traffic.frames),
            ("ksmp_frames_bytes", "Bytes of those frames.", traffic.frames_bytes),
        ):
            yield CounterMetricFamily(name, meaning, value=value)
        errors = CounterMetricFamily(
            "ksmp_errors", "Error events sent to clients, by code.", labels=["code"]
        )
        for code, number in sorted(traffic.errors.items()):
            errors.add_metric([code], number)
        yield errors

    def _conversations(self) -> Iterator[Metric]:
        router = self._observed.router
        for name, meaning, value in (
            (
                "ksmp_conversations_live",
                "Conversations that have a task.",
                router.live_conversations,
            ),
            (
                "ksmp_conversations_quarantined",
                "Conversations in quarantine.",
                len(router.quarantined),
            ),
            (
                "ksmp_mailbox_depth_peak",
                "The most letters that ever waited in one mailbox.",
                router.deepest_mailbox,
            ),
            ("ksmp_letters_under_way", "Letters routed and not yet answered.", router.under_way),
            ("ksmp_letters_under_way_bytes", "Bytes of those letters.", router.under_way_bytes),
        ):
            yield _gauge(name, meaning, value)
        yield CounterMetricFamily(
            "ksmp_dead_letters",
            "Letters that crashed a turn of their own.",
            value=router.dead_letters.total,
        )

    def _storage(self) -> Iterator[Metric]:
        meter, reads = self._observed.meter, self._observed.read_meter
        yield _histogram("ksmp_commit_operations", "Operations in one commit.", meter.operations)
        yield _histogram(
            "ksmp_commit_seconds",
            "Seconds from the begin of a transaction to its end on disk.",
            meter.seconds,
        )
        yield _histogram(
            "ksmp_sync_seconds",
            "Seconds of that in which the engine writes and waits for the disk.",
            meter.sync_seconds,
        )
        yield _gauge(
            "ksmp_commit_under_way_seconds",
            "Seconds that the present transaction has been under way; 0 without one.",
            meter.under_way_seconds,
        )
        yield _histogram("ksmp_read_seconds", "Seconds that a read takes.", reads.seconds)
        yield _gauge(
            "ksmp_read_under_way_seconds",
            "Seconds that the present read has been under way; 0 without one.",
            reads.under_way_seconds,
        )

    def _space(self) -> Iterator[Metric]:
        usage = self._observed.store.usage
        if usage is None:
            return
        for name, meaning, value in (
            ("ksmp_store_bytes", "Bytes of the store's files on the disk.", usage.file_bytes),
            ("ksmp_store_map_bytes", "Bytes of the store's map.", usage.map_bytes),
            ("ksmp_store_map_used_bytes", "Bytes of the map that are in use.", usage.used_bytes),
            ("ksmp_disk_free_bytes", "Bytes free on the store's disk.", usage.free_bytes),
        ):
            yield _gauge(name, meaning, value)

    def _process(self) -> Iterator[Metric]:
        observed = self._observed
        yield _histogram(
            "ksmp_loop_lag_seconds",
            "Seconds that the event loop is late.",
            observed.loop.lag_seconds,
        )
        is_ready = not observed.readiness.reasons(observed.store.usage)
        yield _gauge("ksmp_ready", "1 where /readyz says 200, else 0.", int(is_ready))
        lines = CounterMetricFamily(
            "ksmp_log_lines", "Lines for the log, but for those of debugging.", labels=["event"]
        )
        for event, number in sorted(_by_event(observed.lines).items()):
            lines.add_metric([event], number)
        yield lines

    def _laboratory(self) -> Iterator[Metric]:
        lab = self._observed.lab
        yield _gauge("ksmp_lab", "1 where faults can be ordered, else 0.", int(lab is not None))
        if lab is not None:
            hits = CounterMetricFamily(
                "ksmp_failpoint_hits", "Faults that were ordered.", labels=["place", "action"]
            )
            for place, action, number in lab.hits:
                hits.add_metric([place, action], number)
            yield hits


def render(observed: Observed) -> bytes:
    """The answer to one scrape, in Prometheus's text format."""
    registry = CollectorRegistry()
    registry.register(RelayCollector(observed))
    return generate_latest(registry)


def _gauge(name: str, meaning: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, meaning, value=value)


def _histogram(name: str, meaning: str, histogram: Histogram) -> HistogramMetricFamily:
    buckets = [(_le(bound), float(count)) for bound, count in histogram.cumulative()]
    return HistogramMetricFamily(name, meaning, buckets=buckets, sum_value=histogram.total)


def _le(bound: float) -> str:
    return "+Inf" if bound == inf else repr(float(bound))


def _of_lines(
    name: str, meaning: str, label: str, event: str, lines: Mapping[LineKind, int]
) -> CounterMetricFamily:
    of_event = sorted((kind.code, number) for kind, number in lines.items() if kind.event == event)
    if not label:
        return CounterMetricFamily(name, meaning, value=sum(number for _, number in of_event))
    family = CounterMetricFamily(name, meaning, labels=[label])
    for code, number in of_event:
        family.add_metric([code], number)
    return family


def _by_event(lines: Mapping[LineKind, int]) -> dict[str, int]:
    totals: dict[str, int] = {}
    items: Iterable[tuple[LineKind, int]] = lines.items()
    for kind, number in items:
        totals[kind.event] = totals.get(kind.event, 0) + number
    return totals
