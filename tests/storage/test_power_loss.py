"""Lives of a store, each ended by a kill, a loss of power, an error or a stop: nothing is lost.

Whoever was told that something is stored, or has read it, may rely on it; whoever was refused may
rely on that too. What nobody was told of is there whole or not at all.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from storage.environment import Environment
from storage.errors import StoreUnavailableError
from storage.log import Append, Appended, ConversationHead, Failed, Full, ReadHead
from storage.transaction import Writer
from storage.verify import verify
from tests.storage.power import BROKEN, NO_SPACE, Disk, Killed
from tests.storage.world import (
    Sent,
    append,
    base,
    conversation,
    head_after,
    mark,
    opened,
    writer,
)

KEY = conversation("ann", "bob")
SMALL = 4 * 512
HISTORIES = int(os.environ.get("POWER_HISTORIES", "25"))
"""More of them find rarer things; each costs about a fifth of a second."""

LIVES = 6


class History:
    """What was tried, and what was promised of it."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._tried: dict[bytes, ConversationHead] = {}  # by chain value, the head before
        self._refused: set[bytes] = set()
        self._number = 0
        self.promised = base(KEY)

    def see(self, head: ConversationHead) -> None:
        """`head` is read from the store: it continues what was promised, and is promised now."""
        before = head
        while before.server_seq > self.promised.server_seq:
            assert before.chain not in self._refused
            before = self._tried[before.chain]
        assert before == self.promised
        self.promised = head

    def send(self, one: Writer) -> bool:
        """Whether the store goes on."""
        self._number += 1
        size = self._chance.choice((10, 700, 3_000))
        sends = [Sent(who, f"k{self._number}", bytes(size)) for who in ("ann", "bob")]
        new: Append = append(KEY, self.promised, sends)
        head = head_after(new)
        self._tried[head.chain] = self.promised
        read = mark(KEY, "bob", self.promised.server_seq + 1)
        outcome, _ = one.transact([new, read])
        if isinstance(outcome, Appended):
            self.promised = head
        elif isinstance(outcome, Full):
            self._refused.add(head.chain)
        else:
            assert isinstance(outcome, Failed), outcome
            return False
        return True


def live(environment: Environment, history: History, chance: random.Random) -> None:
    one = writer(environment)
    (head,) = one.transact([ReadHead(KEY)])
    assert isinstance(head, ConversationHead), head
    history.see(head)
    for _ in range(chance.randrange(12)):
        if not history.send(one):
            return
        for _ in range(chance.choice((0, 0, 3, 20))):
            if one.fold() is not None:
                return
    one.finish()


def errors(chance: random.Random) -> dict[int, int]:
    """At some steps of a life, the number of an error."""
    if chance.random() < 0.5:
        return {}
    code = chance.choice((NO_SPACE, BROKEN))
    return {chance.randrange(120): code for _ in range(chance.choice((1, 3)))}


@pytest.mark.parametrize("seed", range(HISTORIES))
def test_whatever_ends_the_lives_of_a_store_it_keeps_what_it_has_told(
    tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    path = tmp_path / "store"
    with opened(path, segment_bytes=SMALL):
        pass
    disk = Disk(path, chance)
    history = History(chance)
    for _ in range(LIVES):
        try:
            with (
                disk.at_work(chance.randrange(160), errors(chance)),
                opened(path, segment_bytes=SMALL) as environment,
            ):
                live(environment, history, chance)
        except (Killed, StoreUnavailableError):
            pass
        disk.restart()
        if chance.random() < 0.5:
            disk.lose_power()
        found = verify(path)
        assert found.problems == []
        assert found.records >= history.promised.server_seq
