"""How long the relay's syncs took in the measured time, out of its own metrics."""

from __future__ import annotations

from math import inf
from pathlib import Path

import pytest

from bench.metrics import metrics_of, parsed
from bench.offered.syncs import SYNCS, Syncs, in_words, sum_of_syncs, syncs_between
from bench.relay_of_its_own import Admin
from bench.run import RunError
from tests.wire.relay_process import RelayProcess

PAGE = """\
# HELP ksmp_sync_seconds Seconds.
# TYPE ksmp_sync_seconds histogram
ksmp_sync_seconds_bucket{le="0.0001"} 1.0
ksmp_sync_seconds_bucket{le="0.0025"} 3.0
ksmp_sync_seconds_bucket{le="+Inf"} 4.0
ksmp_sync_seconds_count 4.0
ksmp_sync_seconds_sum 12.5
# HELP ksmp_log_lines_total Lines.
# TYPE ksmp_log_lines_total counter
ksmp_log_lines_total{event="started"} 9.0
"""


def test_a_page_of_metrics_is_read_with_its_histograms() -> None:
    metrics = parsed(PAGE)

    assert metrics.value("ksmp_sync_seconds_count") == 4
    assert metrics.histogram(SYNCS) == {0.0001: 1, 0.0025: 3, inf: 4}


def test_what_a_relay_does_not_tell_ends_the_measurement() -> None:
    with pytest.raises(RunError, match="do not tell ksmp_missing"):
        parsed(PAGE).value("ksmp_missing")
    with pytest.raises(RunError, match="do not tell ksmp_log_lines_total"):
        parsed(PAGE).histogram("ksmp_log_lines_total")


def test_only_the_syncs_between_two_readings_count() -> None:
    began = {0.0001: 90, 0.001: 95, 0.01: 95, inf: 95}
    ended = {0.0001: 90, 0.001: 145, 0.01: 194, inf: 195}

    syncs = syncs_between(began, ended)

    assert (syncs.count, syncs.p50_at_most_ms, syncs.p99_at_most_ms) == (100, 1.0, 10.0)
    assert syncs.worst_at_most_ms is None
    assert syncs.buckets == ((1.0, 50), (10.0, 49), (None, 1))


def test_a_relay_that_has_not_synced_meanwhile_has_no_figures() -> None:
    syncs = syncs_between({0.001: 7, inf: 8}, {0.001: 7, inf: 8})

    assert syncs == Syncs(0, None, None, None, ())
    assert set(in_words(syncs)) == set(in_words(None)) == {"–"}


def test_runs_add_up_unless_one_of_them_was_of_a_relay_that_does_not_tell() -> None:
    one = syncs_between({}, {0.001: 99, 0.01: 99, inf: 99})
    other = syncs_between({}, {0.001: 0, 0.01: 100, inf: 101})

    together = sum_of_syncs([one, other])
    assert together is not None
    assert together.buckets == ((1.0, 99), (10.0, 100), (None, 1))
    assert in_words(together) == ("≤ 10 ms", "≤ 10 ms", "> 10 s")
    assert sum_of_syncs([one, None]) is None


def test_metrics_that_cannot_be_had_end_the_measurement(tmp_path: Path) -> None:
    with RelayProcess(tmp_path) as relay:
        assert relay.admin_address is not None
        host, port = relay.admin_address
        with pytest.raises(RunError, match="the relay's metrics: its answer was 401"):
            metrics_of(Admin(host, port, "not-the-token"))
    with pytest.raises(RunError, match="the relay's metrics: ConnectionRefusedError"):
        metrics_of(Admin(host, port, "not-the-token"))
