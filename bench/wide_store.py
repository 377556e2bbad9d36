"""A store as a relay has it that has run for long: many conversations, many records in each."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from bench.long_conversation import RECORDS_PER_COMMIT, commit, finish, following, open_store
from ksmp.chain import chain_base
from ksmp.types import ConversationKey, ServerSeq
from storage.log import Append, ConversationHead
from storage.transaction import Writer

STORE: Final = "store"
"""Where a relay's data directory has it."""


def fill_store(
    data: Path,
    keys: Sequence[ConversationKey],
    records: int,
    *,
    text: bytes,
    progress: Callable[[int], None],
) -> bytes:
    """Commit `records` in all, as evenly over the conversations as can be; the last one's chain.

    `progress` is told how many there are.

    Raises:
        RuntimeError: the store does not take them.
    """
    environment = open_store(data / STORE)
    try:
        writer = Writer(environment, lambda: shutil.disk_usage(data).free)
        done, waiting, chain = 0, 0, b""
        batch: list[Append] = []
        for number, key in enumerate(keys):
            share = records * (number + 1) // len(keys) - records * number // len(keys)
            head = ConversationHead(ServerSeq(0), chain_base(*key))
            while head.server_seq < share:
                amount = min(RECORDS_PER_COMMIT, share - head.server_seq)
                batch.append(following(key, head, amount, text))
                last = batch[-1].records[-1]
                head, chain = ConversationHead(last.server_seq, last.chain), last.chain
                waiting += amount
                if waiting >= RECORDS_PER_COMMIT:
                    commit(writer, batch)
                    batch.clear()
                    done, waiting = done + waiting, 0
                    progress(done)
        commit(writer, batch)
        finish(writer)
        progress(done + waiting)
        return chain
    finally:
        environment.close()
