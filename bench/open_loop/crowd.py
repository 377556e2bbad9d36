"""All persons of one load, two for each conversation: they come, settle, leave, read back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import Final

from bench.each import for_each, in_time
from bench.final_read import FinalRead
from bench.open_loop.person import Person, Shared
from bench.process import LoadError

CONNECTING_AT_ONCE: Final = 64
READING_AT_ONCE: Final = 8
CONNECT_SECONDS: Final = 120.0
DRAIN_SECONDS: Final = 10.0
READ_BACK_SECONDS: Final = 600.0
POLL_SECONDS: Final = 0.05


class Crowd:
    """See the head of this file. Person n belongs to conversation n // 2."""

    def __init__(
        self, shared: Shared, persons: Sequence[Person], known: Collection[int] = ()
    ) -> None:
        """`known` are the conversations that others, whom no history knows, write in, too."""
        self._shared = shared
        self._known = known
        self.persons = persons

    async def come(self, connected: Callable[[int], None]) -> None:
        """Connect everybody, telling how many are there by now; then name the conversations.

        Raises:
            LoadError: somebody cannot.
        """
        async with in_time("connecting", CONNECT_SECONDS):
            await for_each(self.persons, Person.come, CONNECTING_AT_ONCE, connected)
        for number, person in enumerate(self.persons):
            person.conversation = self._shared.recorder.conversation(
                person.conversation_id,
                person.user,
                person.peer,
                is_new=number // 2 not in self._known,
            )

    async def settle(self) -> None:
        """Until all that was sent is answered for good and delivered; for so long at most.

        What could not even be sent is in the history then: it is later than anything else.
        """
        for _ in range(int(DRAIN_SECONDS / POLL_SECONDS)):
            if not self._shared.undelivered and all(person.is_settled for person in self.persons):
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
        unread, shared = 0, self._shared

        async def read(person: Person) -> None:
            nonlocal unread
            try:
                await FinalRead(shared.recorder, person.token, person.base).run(shared.url)
            except LoadError:  # as where the fault has ended the relay
                unread += 1

        async with in_time("reading everything back", READ_BACK_SECONDS):
            await for_each(self.persons, read, READING_AT_ONCE)
        return unread

    def leave(self) -> None:
        """Everybody drops their line, for good."""
        for person in self.persons:
            person.leave()
