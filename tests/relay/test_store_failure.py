"""A store that fails ends everything, once, and its last words quote nobody."""

from __future__ import annotations

import pytest
import trio

from relay.store_failure import StoreFailure
from storage.errors import StoreCorruptError, StoreFailedError
from tests.recording_telemetry import RecordingTelemetry

CANARY = "canary-1c9e"


def failure() -> tuple[StoreFailure, trio.CancelScope, RecordingTelemetry]:
    everything, telemetry = trio.CancelScope(), RecordingTelemetry()
    return StoreFailure(everything, telemetry), everything, telemetry


@pytest.mark.trio
async def test_a_store_that_does_not_fail_ends_nothing() -> None:
    store, everything, telemetry = failure()

    with everything:
        await trio.lowlevel.checkpoint()
    store.raise_last_words()

    assert not everything.cancelled_caught
    assert telemetry.lines == []


def test_the_first_failure_ends_everything_and_is_the_only_one_that_is_told() -> None:
    store, everything, telemetry = failure()

    store.note(OSError(CANARY))
    store.note(ValueError(CANARY))

    assert everything.cancel_called
    told = [(line.event, line.fields["error"]) for line in telemetry.lines]
    assert told == [("storage.failed", "OSError")]
    with pytest.raises(StoreFailedError, match="OSError") as raised:
        store.raise_last_words()
    assert CANARY not in str(raised.value)


def test_a_storage_thread_that_dies_is_a_failure_whatever_it_died_of() -> None:
    store, everything, _ = failure()

    store.note_crash(SystemExit())

    assert everything.cancel_called
    with pytest.raises(StoreFailedError, match="RuntimeError"):
        store.raise_last_words()


def test_damage_stays_damage_and_is_told_in_its_own_words() -> None:
    store, _, _ = failure()
    store.note(StoreCorruptError("the store is damaged", "a row is missing", "Restore a backup."))

    with pytest.raises(StoreCorruptError, match="a row is missing"):
        store.raise_last_words()
