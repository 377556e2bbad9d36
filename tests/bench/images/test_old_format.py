"""The older stores that recordings begin with are such stores, and have what is said of them."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest

from bench.images.old_format import make_old_store
from bench.images.promises import Promises
from ksmp.types import Epoch
from storage.environment import open_environment
from storage.errors import StoreIncompatibleError
from storage.rows import ROW_TABLES
from storage.verify import verify


@pytest.mark.parametrize("version", [1, 2])
def test_an_old_store_is_upgraded_and_has_what_it_promised(tmp_path: Path, version: int) -> None:
    store = tmp_path / "store"
    promises = Promises()
    for mark in make_old_store(store, version, "epoch"):
        promises.take(mark)
    with pytest.raises(StoreIncompatibleError, match="Start the relay on it once"):
        verify(store)

    environment = open_environment(
        store, new_epoch=lambda: Epoch("another"), new_lock=nullcontext, create=False
    )
    with environment.reading() as view:
        content = {table: dict(view.range(table)) for table in ROW_TABLES}
    environment.close()

    assert environment.epoch == promises.epoch == "epoch"
    assert sum(promises.conversations.values()) == 6
    assert list(promises.broken(content)) == []
    assert verify(store).problems == []
