"""The clients of a tortured relay: pairs who write to each other all the time, whatever happens."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from time import monotonic_ns
from typing import Final, NamedTuple

from bench.history import Recorder
from bench.open_loop.crowd import Crowd
from bench.open_loop.person import Bulk, Contents, Shared
from bench.torture.errors import BrokenError
from bench.torture.member import Member
from bench.torture.processes import true_within
from ksmp.types import ConversationId, UserId

MESSAGE_BYTES: Final = 200
SETTLE_SECONDS: Final = 60.0
"""Until everything is acked and delivered, once nothing keeps it from being so."""


ALWAYS_REFUSED: Final = frozenset(("draining", "outcome_unknown"))
"""What anybody may be answered while a relay comes and goes; other codes are a fault's own."""


class Load(NamedTuple):
    """What the clients do."""

    pairs: int = 6
    sends_per_second: float = 150.0
    bulk_bytes: int = 16_384
    bulk_share: float = 0.05
    """Of the messages, those of `bulk_bytes`."""


USUAL_LOAD: Final = Load()


class TorturedCrowd(Crowd):
    """All of them. They write from `come` until `settled`."""

    def __init__(
        self,
        load: Load,
        recorder: Recorder,
        url: str,
        tokens: Sequence[str],
        chance: Random,
        *,
        refused: frozenset[str] = frozenset(),
    ) -> None:
        """`refused` are the codes that they may be answered, besides those of any restart."""
        contents = Contents(
            recorder, chance.randbytes(MESSAGE_BYTES), chance.randbytes(load.bulk_bytes)
        )
        shared = Shared(url, recorder, contents, chance, set())
        users = users_of(load)
        self.members = [
            Member(
                shared,
                token=tokens[number],
                user=UserId(user),
                peer=UserId(users[number ^ 1]),
                conversation_id=ConversationId(f"torture.{number // 2}"),
            )
            for number, user in enumerate(users)
        ]
        super().__init__(shared, self.members)
        self._load = load
        self._chance = chance
        self._refused = ALWAYS_REFUSED | refused
        self._undelivered = shared.undelivered
        self._writing: asyncio.Task[None] | None = None

    @property
    def acked(self) -> int:
        """How many messages are acked by now."""
        return sum(member.acked for member in self.members)

    @property
    def records(self) -> int:
        """How many are stored of theirs; each pair's inboxes hold nothing else, from 1 on."""
        return sum(member.heard for member in self.members[::2])

    @property
    def refusals(self) -> Counter[str]:
        """How often they were refused, by code."""
        return sum((member.refusals for member in self.members), Counter())

    @property
    def clocks_off_seconds(self) -> Sequence[float]:
        """By how much the relay's wall clock is off, as everybody's last ack says."""
        return [one.clock_off_ms / 1_000 for one in self.members if one.clock_off_ms is not None]

    def all_come_back(self) -> None:
        """Everybody drops their line at once, and opens another."""
        for member in self.members:
            member.come_back()

    async def all_ready(self, within_seconds: float = SETTLE_SECONDS) -> None:
        """Wait until everybody is connected, and has resumed.

        Raises:
            BrokenError: somebody has not.
        """
        if not await true_within(
            within_seconds, lambda: all(one.ready.is_set() for one in self.members)
        ):
            raise BrokenError(f"not everybody is connected after {within_seconds:.0f} s")

    async def begin(self) -> None:
        """Connect everybody, and let them write.

        Raises:
            LoadError: somebody cannot connect.
        """
        await self.come(lambda _: None)
        self._writing = asyncio.create_task(self._write())

    async def acks(self, number: int, within_seconds: float = SETTLE_SECONDS) -> None:
        """Wait for so many acks more.

        Raises:
            BrokenError: they do not come.
        """
        target = self.acked + number
        if not await self._come_true(lambda: self.acked >= target, within_seconds):
            left = target - self.acked
            raise BrokenError(f"{left} of {number} acks have not come in {within_seconds:.0f} s")

    async def refusal(self, code: str, within_seconds: float) -> None:
        """Wait until a send is refused with this code.

        Raises:
            BrokenError: none is.
        """
        before = self.refusals[code]
        if not await self._come_true(lambda: self.refusals[code] > before, within_seconds):
            raise BrokenError(f"no send is refused as {code} within {within_seconds:.0f} s")

    async def stop_writing(self) -> None:
        """Nobody writes anything new."""
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.wait([self._writing])
            self._writing = None

    async def settled(self) -> None:
        """Nobody writes any more, and everything that was written is acked and delivered.

        Raises:
            BrokenError: something is not.
        """
        await self.stop_writing()

        def is_settled() -> bool:
            return not self._undelivered and all(one.is_settled for one in self.members)

        if not await self._come_true(is_settled, SETTLE_SECONDS):
            unsettled = sum(not one.is_settled for one in self.members)
            raise BrokenError(
                f"after {SETTLE_SECONDS:.0f} s {unsettled} of {len(self.members)} users have sends"
                f" without an answer, and {len(self._undelivered)} messages are not delivered"
            )

    async def _come_true(self, condition: Callable[[], bool], within_seconds: float) -> bool:
        def looked() -> bool:
            if strange := set(self.refusals) - self._refused:
                raise BrokenError(f"the clients are answered {', '.join(sorted(strange))}")
            return condition()

        return await true_within(within_seconds, looked)

    def leave(self) -> None:
        """See `Crowd`."""
        if self._writing is not None:
            self._writing.cancel()
        super().leave()

    async def _write(self) -> None:
        load, chance = self._load, self._chance
        while True:
            await asyncio.sleep(chance.expovariate(load.sends_per_second))
            member = chance.choice(self.members)
            if not member.has_enough_waiting:
                bulk: Bulk = "filler" if chance.random() < load.bulk_share else "message"
                member.send(monotonic_ns(), bulk=bulk)


def users_of(load: Load) -> Sequence[str]:
    """Their names; each two are a pair."""
    return [f"tortured-{number}" for number in range(2 * load.pairs)]
