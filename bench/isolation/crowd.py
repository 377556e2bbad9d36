"""All persons of one experiment, two for each conversation: they come, settle, leave, read back."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

from bench.final_read import FinalRead
from bench.history import Recorder
from bench.isolation.person import SMALL_RECEIVE_BYTES, Contents, Person, Shared
from bench.isolation.plan import LoadPlan
from bench.isolation.schedule import stuck_readers, victims_of
from bench.isolation.stuck import FILLER_BYTES
from bench.process import LoadError
from bench.user import subject
from ksmp.types import ConversationId, GlobalInboxSeq

CONNECTING_AT_ONCE: Final = 64
READING_AT_ONCE: Final = 8
CONNECT_SECONDS: Final = 120.0
DRAIN_SECONDS: Final = 10.0
READ_BACK_SECONDS: Final = 600.0
POLL_SECONDS: Final = 0.05


class Crowd:
    """See the head of this file."""

    def __init__(self, plan: LoadPlan, recorder: Recorder) -> None:
        self._plan = plan
        self._recorder = recorder
        self._undelivered: set[str] = set()
        shared = Shared(
            plan.url,
            recorder,
            Contents(recorder, os.urandom(plan.experiment.size), os.urandom(FILLER_BYTES)),
            random.Random(f"{plan.experiment.seed} backoff"),
            self._undelivered,
        )
        stuck = self._stuck
        self.persons = [
            _person(shared, plan, number, is_stuck=number in stuck)
            for number in range(2 * plan.experiment.conversations)
        ]

    @property
    def victims(self) -> tuple[int, ...]:
        """The numbers, in the history, of the conversations that are struck."""
        sides = (self.persons[2 * victim] for victim in victims_of(self._plan.experiment))
        return tuple(side.conversation for side in sides)

    async def come(self, connected: Callable[[int], None]) -> None:
        """Connect everybody, telling how many are there by now; then name the conversations.

        Raises:
            LoadError: somebody cannot.
        """
        count = iter(range(1, len(self.persons) + 1))

        async def come(person: Person) -> None:
            await person.come()
            connected(next(count))

        await _for_all(self.persons, come, CONNECTING_AT_ONCE, CONNECT_SECONDS)
        # What the flooders write is not in the history: to its reader it is somebody else's.
        flooded = victims_of(self._plan.experiment) if self._plan.flooding_tokens else ()
        for number, person in enumerate(self.persons):
            person.conversation = self._recorder.conversation(
                person.conversation_id,
                person.user,
                person.peer,
                is_new=number // 2 not in flooded,
            )

    async def settle(self) -> None:
        """Until all that was sent is answered for good and delivered; for so long at most.

        What could not even be sent is in the history then: it is later than anything else.
        """
        for _ in range(int(DRAIN_SECONDS / POLL_SECONDS)):
            if not self._undelivered and all(person.is_settled for person in self.persons):
                return
            await asyncio.sleep(POLL_SECONDS)
        for person in self.persons:
            person.give_up()

    async def read_back(self) -> int:
        """Everybody's inbox once more, while nothing else goes on; how many cannot be read.

        Raises:
            LoadError: it takes too long.
        """
        self.leave()
        unread = 0

        async def read(person: Person) -> None:
            nonlocal unread
            try:
                await FinalRead(self._recorder, person.token, GlobalInboxSeq(0)).run(self._plan.url)
            except LoadError:  # as where the fault has ended the relay
                unread += 1

        await _for_all(self.persons, read, READING_AT_ONCE, READ_BACK_SECONDS)
        return unread

    def leave(self) -> None:
        """Everybody drops their line, for good."""
        for person in self.persons:
            person.leave()

    @property
    def _stuck(self) -> frozenset[int]:
        experiment = self._plan.experiment
        return frozenset(stuck_readers(experiment) if experiment.fault == "stuck-reader" else ())


def _person(shared: Shared, plan: LoadPlan, number: int, *, is_stuck: bool) -> Person:
    token, peer_token = plan.tokens[number], plan.tokens[number ^ 1]
    return Person(
        shared,
        token=token,
        user=subject(token),
        peer=subject(peer_token),
        conversation_id=ConversationId(f"isolation.{number // 2}"),
        receive_bytes=SMALL_RECEIVE_BYTES if is_stuck else None,
    )


async def _for_all(
    persons: list[Person],
    do: Callable[[Person], Awaitable[None]],
    at_once: int,
    seconds: float,
) -> None:
    """So many at a time, all within this time.

    Raises:
        LoadError: that was not enough, or one of them raised it.
    """
    waiting: Iterator[Person] = iter(persons)

    async def one_after_the_other() -> None:
        for person in waiting:
            await do(person)

    try:
        async with asyncio.timeout(seconds):
            await asyncio.gather(*(one_after_the_other() for _ in range(at_once)))
    except TimeoutError:
        raise LoadError(f"it took longer than {seconds:.0f} seconds") from None
