"""One life of a store, to be recorded: `python -m bench.images.life STORE MARKS PLAN`.

The real log on its three threads: several conversations at once, appends of one record and of many,
read positions, pages read meanwhile, files of the journal so small that checkpoints are always
under way. It ends by a clean stop, or by a kill in the middle of something.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec
import trio
from msgspec import Struct

from bench.images.letters import Letter, append_of, head_after, rows_of, talk
from bench.images.marks import Appended as AppendedMark
from bench.images.marks import Found, Marked, Marker, Offered, Opened
from bench.images.reserving import reserving_little
from ksmp.types import ConversationKey, Epoch, GlobalInboxSeq, ServerSeq, TimeMs, UserId
from relay.system import SerialThread
from storage.environment import open_environment
from storage.lmdb_log import LmdbLog
from storage.log import (
    Append,
    Appended,
    ConversationHead,
    MarkRead,
    Operation,
    Outcome,
    ReadHead,
    ReadMarked,
)

PLENTY: Final = 1 << 40
ALL: Final = GlobalInboxSeq(2**53 - 1)

TALKS: Final = (
    talk("ann", "bob"),
    talk("ann", "carl"),
    talk("bob", "carl"),
    talk("ann", "ann"),
    talk("carl", "dora"),
    talk("ann", "bob", "another"),
)


Ending = Literal["stop", "kill"]


class Plan(Struct, frozen=True):
    """What kind of life it is. The same plan does the same; how its threads meet is never twice."""

    seed: int
    number: int
    """Of the life, so that no two lives use one idempotency key."""

    rounds: int
    ending: Ending
    segment_bytes: int
    map_size_bytes: int
    most_bytes: int
    """Of a ciphertext."""


def epoch_of(seed: int) -> str:
    """The epoch of every store that is made in that recording."""
    return f"epoch-of-{seed}"


class Life:
    """What is done to one open log."""

    def __init__(self, log: LmdbLog, marker: Marker, plan: Plan) -> None:
        self._log = log
        self._tell = marker.tell
        self._plan = plan
        self._chance = random.Random(f"{plan.seed} {plan.number}")
        self._heads: dict[ConversationKey, ConversationHead] = {}
        self._letters = 0

    async def run(self) -> None:
        """All rounds of it; where it is to end by a kill, the last one is cut off."""
        await self._each([ReadHead(key) for key in TALKS])
        for _ in range(self._plan.rounds):
            await self._each(self._round())
            if self._chance.random() < 0.2:
                await self._log.page(UserId("ann"), GlobalInboxSeq(0), ALL, 1_000)
        if self._plan.ending == "kill":
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._each, self._round())
                for _ in range(self._chance.randrange(6)):
                    await trio.lowlevel.checkpoint()
                os.kill(os.getpid(), signal.SIGKILL)

    def _round(self) -> Sequence[Operation]:
        keys = self._chance.sample(TALKS, self._chance.choice((1, 1, 2, 3, 6)))
        return [one for key in keys for one in self._operations(key)]

    def _operations(self, key: ConversationKey) -> Sequence[Operation]:
        """An append, perhaps, and a read position, perhaps of what is only just being appended."""
        chance = self._chance
        head = self._heads[key]
        operations: list[Operation] = []
        if chance.random() < 0.8:
            amount = chance.choice((1, 1, 1, 2, 4))
            new = append_of(key, head, [self._letter(key) for _ in range(amount)])
            operations.append(new)
            self._tell(Offered(key, head.chain, rows_of(new)))
            head = head_after(new)
        if head.server_seq and chance.random() < 0.4:
            reader = chance.choice(key[1:])
            seq = ServerSeq(chance.randint(1, head.server_seq))
            operations.append(MarkRead(key, reader, seq, chance.random() < 0.3, TimeMs(7)))
        return operations

    def _letter(self, key: ConversationKey) -> Letter:
        self._letters += 1
        ciphertext = self._chance.randbytes(self._chance.randrange(self._plan.most_bytes))
        name = f"k{self._plan.number}-{self._letters}"
        return Letter(self._chance.choice(key[1:]), name, ciphertext)

    async def _each(self, operations: Sequence[Operation]) -> None:
        """Submit them all, some perhaps when the first are under way; wait for all outcomes."""
        done = trio.Event()
        left = len(operations)

        def settle(operation: Operation, outcome: Outcome) -> None:
            nonlocal left
            self._note(operation, outcome)
            left -= 1
            if not left:
                done.set()

        for operation in operations:
            if self._chance.random() < 0.3:
                await trio.lowlevel.checkpoint()
            self._log.submit(operation, lambda outcome, one=operation: settle(one, outcome))  # type: ignore[misc]
        if operations:
            await done.wait()

    def _note(self, operation: Operation, outcome: Outcome) -> None:
        match operation, outcome:
            case ReadHead(key), ConversationHead(seq, chain):
                self._tell(Found(key, seq, chain))
                self._heads[key] = outcome
            case Append(key, last_seq), Appended(places):
                head = head_after(operation)
                self._heads[key] = head
                rows = {
                    str(user): {
                        int(place.global_inbox_seq): int(seq)
                        for seq, place in enumerate(each, last_seq + 1)
                    }
                    for user, each in places.items()
                }
                self._tell(AppendedMark(key, head.server_seq, head.chain, rows))
            case MarkRead(key, reader), ReadMarked(own, public):
                self._tell(Marked(key, reader, own.server_seq, public.server_seq))
            case _:
                raise RuntimeError(f"{type(operation).__name__} had {outcome}")


async def live(store: Path, marker: Marker, plan: Plan) -> None:
    """Open the store, use it, and end as planned."""
    environment = open_environment(
        store,
        new_epoch=lambda: Epoch(epoch_of(plan.seed)),
        new_lock=threading.Lock,
        map_size_bytes=plan.map_size_bytes,
        segment_bytes=plan.segment_bytes,
    )
    threads = [SerialThread(name, _end) for name in ("writing", "reading", "folding")]
    writing, reading, folding = threads
    log = LmdbLog(
        environment,
        writing=writing,
        reading=reading,
        folding=folding,
        free_bytes=lambda: PLENTY,
        after_commit=lambda: None,
        on_failure=_end,
        on_bug=_end,
    )
    marker.tell(Opened(log.epoch))
    await Life(log, marker, plan).run()
    for thread in (writing, reading):
        await thread.finish()
    log.finish()
    await folding.finish()
    environment.close()


def _end(error: BaseException) -> None:
    raise error


def main(arguments: Sequence[str]) -> None:
    """Live as planned."""
    store, marks, plan = arguments
    marker = Marker(Path(marks))
    with reserving_little():
        trio.run(live, Path(store), marker, msgspec.json.decode(plan, type=Plan))


if __name__ == "__main__":
    main(sys.argv[1:])
