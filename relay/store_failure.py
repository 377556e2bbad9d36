"""The end of a relay whose store has failed: at the first failure, for the whole process.

The store's intensity is 0. LMDB would go on after a failed sync as if nothing had happened; only a
new process reads what is really on disk.
"""

from __future__ import annotations

import trio

from actors.failures import describe
from actors.telemetry import Telemetry
from storage.errors import StorageError, StoreCorruptError, StoreFailedError


class StoreFailure:
    """Cancels `everything` at the first failure, and says at the end what it was."""

    def __init__(self, everything: trio.CancelScope, telemetry: Telemetry) -> None:
        self._everything = everything
        self._telemetry = telemetry
        self._first: Exception | None = None

    def note(self, error: Exception) -> None:
        """The store has failed: some outcomes are unknown. The first failure counts."""
        if self._first is None:
            self._first = error
            self._telemetry.error("storage.failed", **describe(error))
            self._everything.cancel()

    def note_crash(self, error: BaseException) -> None:
        """A storage thread has died, by a fault of ours: nothing can be known any more."""
        self.note(error if isinstance(error, Exception) else RuntimeError())

    def raise_last_words(self) -> None:
        """Tell whoever finds the process ended; return where nothing has failed.

        Raises:
            StorageError: the store has failed, or is damaged.
        """
        if self._first is not None:
            raise _last_words(self._first) from self._first


def _last_words(failure: Exception) -> StorageError:
    if isinstance(failure, StoreCorruptError):
        return StoreCorruptError(failure.what, failure.why, failure.what_to_do)
    return StoreFailedError(
        "The store has failed",
        # The text of any other exception might quote what a client has chosen.
        failure.why if isinstance(failure, StorageError) else type(failure).__name__,
        "Check the disk, run `ksmp-relay verify`, and start the relay again.",
    )
