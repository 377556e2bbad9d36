"""Replay, storm and idle connections as parts of a page: figures, and nothing to draw."""

from __future__ import annotations

from collections.abc import Iterator

from bench.idle import IdleReport
from bench.pages import wording as words
from bench.pages.page import texts
from bench.pages.section import Section, note, verdict
from bench.replay import ReplayReport
from bench.storm import StormReport

Rows = Iterator[tuple[str, str]]


def replay_section(report: ReplayReport) -> Section:
    """One client that reads a long inbox."""
    said = (
        f"One client reads an inbox of {report.records:,} records of {report.size:,} bytes from the"
        " beginning, while other users write. Live latencies count from when a send was meant."
    )
    content = note(said), texts("Replay", _replay(report)), verdict([report.checker])
    return Section("A long inbox read by one client", report.is_good, content)


def storm_section(report: StormReport) -> Section:
    """All clients drop, and come back."""
    said = (
        f"{report.connections:,} clients drop at once, are sent {report.messages:,} messages each"
        f" meanwhile, and come back with cursors over {report.spread_seconds:g} seconds. The time"
        " runs until the last one has its last record."
    )
    content = note(said), texts("Storm", _storm(report)), verdict([report.checker])
    return Section("A storm of returning clients", report.is_good, content)


def idle_section(report: IdleReport) -> Section:
    """Connections that do nothing."""
    said = "Each connection is of another user, has resumed, and answers the relay's pings."
    return Section(
        "Connections that do nothing", report.is_good, (note(said), texts("Idle", _idle(report)))
    )


def _replay(report: ReplayReport) -> Rows:
    memory, live = report.memory, report.live
    yield "records that were read", f"{report.frames:,} of {report.records:,}"
    yield "time", f"{report.seconds:,.2f} s"
    yield "frames", f"{report.frames_per_s:,.0f} per s"
    yield "bytes", f"{report.bytes_per_s / 1e6:,.1f} MB per s"
    yield "frames out of their place", f"{report.out_of_place:,}"
    yield "ends where it must", "yes" if report.ends_right else "no"
    yield "the relay's own memory, first third", _mib(memory.own_first_kib)
    yield "the relay's own memory, last third", _mib(memory.own_last_kib)
    yield "that is flat", "yes" if report.memory_flat else "no"
    yield "live ack p99 without it", _of_sends(live.baseline_ack_ms.p99, live.baseline_sends)
    yield "live ack p99 meanwhile", _of_sends(live.meanwhile_ack_ms.p99, live.meanwhile_sends)
    yield "live sends without an answer", f"{live.unanswered:,}"
    yield "relay", _core(report.relay_cpu)
    yield "reader", _core(report.reader_cpu, is_bound=report.reader_bound)
    if report.messages_per_s is not None:
        yield "16 pairs × 16 in flight", f"{report.messages_per_s:,.0f} acked per s"
        yield "frames to one of these", words.ratio(report.ratio)


def _storm(report: StormReport) -> Rows:
    yield "all back and caught up in", f"{report.caught_up_seconds:,.2f} s"
    yield "records missing", f"{report.missing:,}"
    yield "handshakes, coming back", f"{report.handshakes_per_s:,.0f} per s"
    yield "handshakes, at the beginning", f"{report.opening_handshakes_per_s:,.0f} per s"
    yield "handshakes made again", f"{report.repeated_handshakes:,}"
    yield "relay", _core(report.relay_cpu)
    yield "memory of the relay", _mib(report.relay_rss_kib)
    yield "clients", _core(report.generator_cpu, is_bound=report.generator_bound)


def _idle(report: IdleReport) -> Rows:
    yield "connections", f"{report.connections:,}"
    yield "still there", f"{report.still_connected:,} after {report.seconds:g} s"
    yield "memory for each", f"{report.kib_per_connection:.1f} KiB"
    yield "memory of the relay before", _mib(report.relay_rss_before_kib)
    yield "memory of the relay with them", _mib(report.relay_rss_after_kib)
    yield "silence before a ping", f"{report.keepalive_seconds:g} s"
    yield "pings that each has answered", f"at least {report.keepalive_rounds:,}"
    yield "handshakes", f"{report.handshakes_per_s:,.0f} per s"
    if (window := report.window) is not None:
        yield "relay, while all were idle", _core(window.relay_cpu)
        yield "measured over", f"{window.seconds:g} s, with {window.pings:,} pings answered"


def _mib(kibibytes: int) -> str:
    return f"{kibibytes / 1_024:,.1f} MiB"


def _core(part: float | None, *, is_bound: bool = False) -> str:
    if part is None:
        return words.UNKNOWN
    limit = ": it was the limit, and the figures are a lower bound" if is_bound else ""
    return f"{words.share(part)} of a core{limit}"


def _of_sends(latency_ms: float, sends: int) -> str:
    return f"{words.latency(latency_ms)} of {sends:,} sends"
