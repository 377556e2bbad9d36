"""A store with very many records, for rounds to begin on; made once, and copied."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bench.wide_store import STORE, fill_store
from ksmp.types import ConversationId, ConversationKey, UserId, conversation_key

PER_CONVERSATION: Final = 100
TEXT_BYTES: Final = 100
RECORDS: Final = "records"
"""The file that says how many there are."""


def make_stock(data: Path, records: int, progress: Callable[[int], None]) -> None:
    """A data directory whose store has so many records, in as many conversations as need be.

    Raises:
        RuntimeError: the store does not take them.
    """
    data.mkdir(mode=0o700, parents=True)
    fill_store(data, _keys(records), records, text=bytes(TEXT_BYTES), progress=progress)
    (data / RECORDS).write_text(str(records))


def has_stock(data: Path, records: int) -> bool:
    """Whether there is such a store already, made to its end."""
    count = data / RECORDS
    return count.is_file() and count.read_text() == str(records)


def _keys(records: int) -> list[ConversationKey]:
    return [
        conversation_key(
            ConversationId(f"stock.{number}"), UserId(f"one-{number}"), UserId(f"other-{number}")
        )
        for number in range(max(1, records // PER_CONVERSATION))
    ]


def take_stock(stock: Path, data: Path) -> int:
    """Have `data` begin with a copy of it; how many records that has."""
    data.mkdir(mode=0o700, parents=True)
    shutil.copytree(stock / STORE, data / STORE)
    return int((stock / RECORDS).read_text())
