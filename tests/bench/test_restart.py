"""The measurement of restarts measures restarts, on a store as the relay would have written it."""

from __future__ import annotations

from pathlib import Path

from bench.long_conversation import RECORDS_PER_COMMIT
from bench.restart import SHORT_RECORDS, WARM_UP, measure
from storage.verify import verify


def test_each_crash_is_measured_until_the_send_that_met_it_is_acknowledged(
    tmp_path: Path,
) -> None:
    records, crashes = RECORDS_PER_COMMIT + 5, 7

    short, long = measure(tmp_path / "store", records, crashes, size=10)

    assert (short.records, long.records) == (SHORT_RECORDS, records)
    for one in (short, long):
        assert one.crashes == crashes
        assert 0 < one.ready_ms.p50 <= one.acked_ms.p50
        assert one.ready_ms.p99 <= one.acked_ms.p99
    checked = verify(tmp_path / "store")
    assert checked.problems == []
    assert checked.conversations == 2
    assert checked.records == SHORT_RECORDS + records + 2 * (WARM_UP + crashes)
