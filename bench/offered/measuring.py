"""The figures of one load, out of its history: latencies count from when a send was meant."""

from __future__ import annotations

from msgspec import Struct

from bench.checker.bystanders import BASELINE
from bench.checker.story import Story
from bench.latency import Latencies, Percentiles
from bench.open_loop.arrivals import NS
from bench.open_loop.sends import sends_of


class Figures(Struct, frozen=True):
    """What the clients saw of the sends that were meant for the measured time."""

    offered_per_s: float
    acked_per_s: float
    delivered_per_s: float
    ack_ms: Percentiles
    delivery_ms: Percentiles
    worst_ack_ms: float
    worst_delivery_ms: float
    unacked: int
    undelivered: int
    """Never acked, never delivered: they have no latency, and are not among the percentiles."""
    ack_histogram: str
    delivery_histogram: str
    """HDR histograms, in microseconds, as `bench.latency.Histogram` encodes them."""


def figures_of(story: Story) -> Figures:
    """Of the one measured window; throughput is what came within it, whenever it was meant."""
    window = next(one for one in story.windows.values() if one.kind == BASELINE)
    began, ended = window.began_at, window.ended_at
    seconds = (ended - began) / NS
    acks, deliveries = Latencies(), Latencies()
    worst_ack = worst_delivery = 0.0
    offered = acked = delivered = unacked = undelivered = 0
    for meant_at, _, acked_at, delivered_at in sends_of(story):
        acked += began <= acked_at < ended
        delivered += began <= delivered_at < ended
        if not began <= meant_at < ended:
            continue
        offered += 1
        if acked_at < 0:
            unacked += 1
        else:
            acks.record((acked_at - meant_at) / NS)
            worst_ack = max(worst_ack, (acked_at - meant_at) / NS)
        if delivered_at < 0:
            undelivered += 1
        else:
            deliveries.record((delivered_at - meant_at) / NS)
            worst_delivery = max(worst_delivery, (delivered_at - meant_at) / NS)
    ack, delivery = acks.histogram(), deliveries.histogram()
    return Figures(
        round(offered / seconds, 1),
        round(acked / seconds, 1),
        round(delivered / seconds, 1),
        ack.percentiles,
        delivery.percentiles,
        round(worst_ack * 1_000, 3),
        round(worst_delivery * 1_000, 3),
        unacked,
        undelivered,
        ack.encoded,
        delivery.encoded,
    )
