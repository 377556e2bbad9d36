"""What goes on inside a connection: it reads, gives answers to their calls, and keeps the rest.

One task runs `Session.run`; any number of tasks call.
"""

from __future__ import annotations

from typing import Final

import anyio
from msgspec import UNSET

from ksmp.client.answers import Answers
from ksmp.client.buffer import EventBuffer
from ksmp.client.errors import ConnectionLostError
from ksmp.client.line import Line
from ksmp.codec import Codec
from ksmp.events import ClientEvent, Connected, Error, ServerEvent
from ksmp.malformed import UndecodableError

NORMAL_CLOSURE: Final = 1000
PROTOCOL_ERROR: Final = 1002


async def greeting(
    line: Line, codec: Codec, silence_seconds: float
) -> tuple[Connected, list[bytes | bytearray]]:
    """The first event, and the messages that came with it.

    Raises:
        ConnectionLostError: the connection ended before it, or it is not the one it must be.
    """
    notice: Error | None = None
    while (messages := await line.receive(silence_seconds)) is not None:
        for position, message in enumerate(messages):
            try:
                event = codec.decode_server_event(message)
            except UndecodableError:
                raise ConnectionLostError(PROTOCOL_ERROR) from None
            if isinstance(event, Connected):
                return event, messages[position + 1 :]
            if isinstance(event, Error):
                notice = event
    raise ConnectionLostError(line.close_code, notice)


class Session:
    """An open line after the relay's first event.

    Every call is answered, or woken when the connection ends. Every other event is kept, in order,
    until it is taken; while too much is kept, nothing is read.
    """

    def __init__(
        self, line: Line, codec: Codec, connected: Connected, max_unread_bytes: int
    ) -> None:
        self.connected: Final = connected
        self._line = line
        self._codec = codec
        self._answers = Answers(connected.user_id)
        self._events = EventBuffer(max_unread_bytes)
        self._notice: Error | None = None
        self._is_lost = False
        self._ended = anyio.Event()
        self._running = anyio.CancelScope(shield=True)

    async def call(self, event: ClientEvent) -> ServerEvent:
        """The answer to `event`.

        Raises:
            RefusedError: the answer is an error.
            ConnectionLostError: there will be no answer.
            ValueError: the event is not one the relay would take.
        """
        message = self._encode(event)
        call = self._answers.expect(event)
        try:
            await self._line.send(message)
        except BaseException:
            self._answers.forget(call)
            raise
        return await call.answer()

    async def call_alone(self, event: ClientEvent) -> ServerEvent:
        """The answer to a call that would be confused with that to another one like it."""
        while (other := self._answers.under_way(event)) is not None:
            await other.over()
        return await self.call(event)

    async def next_event(self) -> ServerEvent:
        """The next event that is not an answer.

        Raises:
            ConnectionLostError: the connection has ended, and all that had arrived was taken.
        """
        return await self._events.take()

    async def run(self, following: list[bytes | bytearray]) -> None:
        """Read and write until `close`; `following` are messages that came with the first event.

        Cancellation from outside does not reach in here: whoever is cancelled closes first.
        """
        with self._running:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._line.write)
                tasks.start_soon(self._read, following)

    async def close(self, seconds: float) -> None:
        """Write what is queued, close, and give the relay so long to close as well."""
        self._line.close(NORMAL_CLOSURE)
        self._lose()
        with anyio.move_on_after(seconds):
            await self._ended.wait()
        await self._line.release()
        self._running.cancel()

    def _encode(self, event: ClientEvent) -> bytes:
        """The event's bytes, if the relay can answer them in a way that finds its call."""
        message = self._codec.encode(event)
        try:
            self._codec.decode_client_event(message)
        except UndecodableError:
            raise ValueError("a field of the event is not valid") from None
        if len(message) > self.connected.limits.max_frame_bytes:
            raise ValueError("the event is larger than the relay's limits.max_frame_bytes")
        return message

    async def _read(self, messages: list[bytes | bytearray] | None) -> None:
        """Take what arrives until the connection ends, then tell everyone who waits."""
        silence_seconds = self.connected.keepalive_ms / 1_000
        try:
            while messages is not None:
                for message in messages:
                    await self._take(message)
                messages = await self._line.receive(silence_seconds)
        except UndecodableError:
            self._line.close(PROTOCOL_ERROR)
        self._lose()
        self._line.end()
        self._ended.set()

    async def _take(self, message: bytes | bytearray) -> None:
        event = self._codec.decode_server_event(message)
        if event is None or self._answers.take(event):
            return
        if isinstance(event, Error) and event.about is UNSET:
            self._notice = event
        await self._events.put(event, len(message))

    def _lose(self) -> None:
        if self._is_lost:
            return
        self._is_lost = True
        error = ConnectionLostError(self._line.close_code, self._notice)
        self._answers.lose(error)
        self._events.end(error)
