"""A new epoch for a store that was copied or restored: its history is no longer unbroken."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import lmdb

from ksmp.types import Epoch
from storage.engine import explain
from storage.environment import open_environment
from storage.tables import META_EPOCH, put_check


def begin_new_epoch(path: Path, new_epoch: Callable[[], Epoch]) -> Epoch:
    """The store at `path` has the epoch that is returned, committed and synced.

    Clients that knew the old one are then told to start over, instead of being told nothing of
    what the copy has lost. Offline: no process may have the store open.

    Raises:
        StorageError: one of the kinds in `storage.errors`; the epoch is as it was.
    """
    epoch = new_epoch()
    environment = open_environment(path, new_epoch=new_epoch, new_lock=nullcontext, create=False)
    try:
        transaction = environment.begin()
        try:
            transaction.put(META_EPOCH, epoch.encode(), db=environment.tables[b"meta"])
            put_check(transaction, environment.tables)
            transaction.commit()
        finally:
            transaction.abort()
    except lmdb.Error as error:
        raise explain(path, error) from error
    finally:
        environment.close()
    return epoch
