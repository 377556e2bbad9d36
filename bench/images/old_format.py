"""A store of an older format, as its relay has left it when it was stopped."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Final

from bench.images.letters import Letter, append_of, head_after, rows_of, talk
from bench.images.marks import Found, Mark, Offered, Opened
from bench.images.reserving import reserving_little
from ksmp.chain import chain_base
from ksmp.types import Epoch, ServerSeq
from storage.environment import Environment, open_environment
from storage.log import ConversationHead
from storage.tables import META_FOLDED, META_FORMAT, META_JOURNAL_KEY
from storage.transaction import Writer

PLENTY: Final = 1 << 40
TALKS: Final = (talk("ann", "bob"), talk("ann", "ann"))
HEADS_BYTES: Final = 16
"""Of a row of `inboxes` in the first format."""


def make_old_store(store: Path, version: int, epoch: str) -> list[Mark]:
    """There is one of format 1 or 2 at `store`. Returns what it has promised."""
    with reserving_little():
        environment = open_environment(
            store, new_epoch=lambda: Epoch(epoch), new_lock=nullcontext, map_size_bytes=1 << 20
        )
        try:
            promised = [Opened(epoch), *_fill(environment)]
            _make_older(environment, version)
        finally:
            environment.close()
    return promised


def _fill(environment: Environment) -> list[Mark]:
    """A few records, all of them in the tables."""
    writer = Writer(environment, lambda: PLENTY)
    marks: list[Mark] = []
    for key in TALKS:
        base = ConversationHead(ServerSeq(0), chain_base(*key))
        senders = (key.low, key.high, key.low)
        letters = [Letter(who, f"old-{n}", b"long ago") for n, who in enumerate(senders)]
        append = append_of(key, base, letters)
        writer.transact([append])
        marks += [Offered(key, base.chain, rows_of(append)), Found(key, *head_after(append))]
    writer.finish()
    return marks


def _make_older(environment: Environment, version: int) -> None:
    """Take away what the next versions have added."""
    transaction = environment.begin()
    meta, inboxes = environment.tables[b"meta"], environment.tables[b"inboxes"]
    if version == 1:
        for key, row in list(transaction.cursor(inboxes)):
            transaction.put(key, row[:HEADS_BYTES], db=inboxes)
    transaction.put(META_FORMAT, version.to_bytes(2, "big"), db=meta)
    transaction.delete(META_FOLDED, db=meta)
    transaction.delete(META_JOURNAL_KEY, db=meta)
    transaction.commit()
