"""While a slow transaction is under way, a conversation lets its letters come together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio

from actors.letters import Letter
from actors.mailbox import Mailbox
from storage.log import Append, Operation, Settle
from tests.actors.memory_log import MemoryLog
from tests.actors.test_conversation import incarnation
from tests.actors.world import Client, World, all_answered, numbers, send_letter

pytestmark = pytest.mark.trio


class SlowLog(MemoryLog):
    """A log whose transaction lasts until it is told otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self.over = trio.Event()
        self.appended: list[int] = []

    async def gather(self) -> None:
        await self.over.wait()

    def submit(self, operation: Operation, settle: Settle) -> None:
        if isinstance(operation, Append):
            self.appended.append(len(operation.records))
        super().submit(operation, settle)


async def test_letters_that_come_during_a_slow_transaction_are_one_append(
    autojump_clock: trio.testing.MockClock,
) -> None:
    log, client = SlowLog(), Client()
    world = World(log=log)
    letters: list[Letter] = [send_letter(client, f"key-{n}") for n in range(3)]
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        for letter in letters:
            world.route(letter)
            await trio.testing.wait_all_tasks_blocked()
        assert log.appended == []
        log.over.set()
        await all_answered(letters)
        nursery.cancel_scope.cancel()

    assert log.appended == [3]
    assert numbers(client, letters) == [1, 2, 3]


async def test_who_is_stopped_while_letters_come_together_loses_none(
    autojump_clock: trio.testing.MockClock,
) -> None:
    log, client, mailbox = SlowLog(), Client(), Mailbox(10, 10_000)
    world = World(log=log)
    letters: list[Letter] = [send_letter(client, f"key-{n}") for n in range(3)]
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        async with trio.open_nursery() as stopped:
            stopped.start_soon(incarnation(world, mailbox).run)
            for letter in letters:
                mailbox.put(letter)
                await trio.testing.wait_all_tasks_blocked()
            stopped.cancel_scope.cancel()
        log.over.set()
        nursery.start_soon(incarnation(world, mailbox).run)
        await all_answered(letters)
        nursery.cancel_scope.cancel()

    assert numbers(client, letters) == [1, 2, 3]


async def test_a_conversation_that_waits_with_a_letter_is_not_passivated() -> None:
    mailbox, over = Mailbox(10, 10_000), trio.Event()
    mailbox.put(send_letter(Client()))
    gather: Callable[[], Awaitable[None]] = over.wait
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mailbox.take, gather)
        await trio.testing.wait_all_tasks_blocked()
        assert not mailbox.is_idle
        over.set()
