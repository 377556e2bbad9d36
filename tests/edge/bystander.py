"""Somebody else on the same relay, who sends one message at a time and measures."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import trio

from tests.edge.connection import Connection
from tests.edge.stage import Stage
from tests.wire.codecs import MSGPACK
from tests.wire.messages import send

ACK_SECONDS: Final = 5.0
AROUND: Final = 3
"""How many messages are acked before the bad input, and how many after it."""


class Bystander:
    """Writes to itself: every ack and every frame must come, in order, none twice."""

    def __init__(self, connection: Connection, conversation: str) -> None:
        self.acked_after_seconds: list[float] = []
        self._connection = connection
        self._conversation = conversation
        # No faster than anyone may go on average, so that nothing of this is ever refused.
        self._pause_seconds = 1.0 / connection.connected["limits"]["sendsPerSecond"]

    async def write(self) -> None:
        """One message, acked in time and delivered in its place."""
        connection = self._connection
        number = len(self.acked_after_seconds) + 1
        envelope = connection.envelope(connection.user, conversationId=self._conversation)
        begun = trio.current_time()
        await connection.tell(send(envelope))
        ack = await connection.ack_of(envelope)
        after = trio.current_time() - begun
        assert after < ACK_SECONDS, f"acked after {after:.1f} s"
        self.acked_after_seconds.append(after)
        frame = await connection.inbox_frame()
        assert ack["serverSeq"] == number, ack
        assert frame["globalInboxSeq"] == number, frame
        assert frame["envelope"]["idempotencyKey"] == envelope["idempotencyKey"], frame

    async def write_on(self) -> None:
        """Message after message, until cancelled in a pause."""
        while True:
            with trio.CancelScope(shield=True):
                await self.write()
            await trio.sleep(self._pause_seconds)


@asynccontextmanager
async def measuring(stage: Stage) -> AsyncIterator[Bystander]:
    """A bystander who writes before, during and after what happens inside."""
    connecting = stage.connect_fresh(MSGPACK, user=stage.fresh("bystander"))
    async with connecting as connection:
        await connection.resume()
        bystander = Bystander(connection, stage.fresh("diary"))
        for _ in range(AROUND):
            await bystander.write()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bystander.write_on)
            yield bystander
            nursery.cancel_scope.cancel()
        for _ in range(AROUND):
            await bystander.write()
