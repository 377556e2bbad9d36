"""What a conversation reads when it starts does not depend on how long it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bench.long_conversation import fill
from storage.environment import Environment
from storage.log import ConversationHead, ReadHead
from storage.rows import View
from storage.transaction import Writer
from tests.storage.world import PLENTY, conversation, fold, opened

KEY = conversation("alice", "bob")


class CountedTransaction:
    """An engine's transaction; whatever it is asked counts."""

    def __init__(self, transaction: Any, calls: Counter[str]) -> None:
        self._transaction = transaction
        self._calls = calls

    def __getattr__(self, name: str) -> Any:
        self._calls[name] += 1
        return getattr(self._transaction, name)


@contextmanager
def counted(environment: Environment, calls: Counter[str]) -> Iterator[View]:
    transaction = environment.begin()
    try:
        yield View(
            environment.unfolded.generations,
            CountedTransaction(transaction, calls),  # type: ignore[arg-type]
            environment.tables,
        )
    finally:
        transaction.abort()


def reads_of_a_start(path: Path, records: int) -> Counter[str]:
    """What the engine is asked while a head is read, by a writer that remembers no name."""
    calls: Counter[str] = Counter()
    with opened(path) as environment:
        fill(environment, KEY, records, lambda: PLENTY, text=b"sealed", progress=lambda _: None)
        fold(environment)
        one = Writer(environment, lambda: PLENTY)
        environment.viewing = lambda: counted(environment, calls)  # type: ignore[method-assign]
        (head,) = one.transact([ReadHead(KEY)])
    assert isinstance(head, ConversationHead)
    assert head.server_seq == records
    return calls


@pytest.mark.rule("S41")
def test_a_start_reads_as_many_rows_of_ten_thousand_records_as_of_ten(tmp_path: Path) -> None:
    of_ten = reads_of_a_start(tmp_path / "ten", 10)
    of_ten_thousand = reads_of_a_start(tmp_path / "ten thousand", 10_000)

    assert of_ten_thousand == of_ten
    assert of_ten["get"] == 2, "the conversation's number and its head"
    assert set(of_ten) == {"get"}
