"""A WebSocket without a wire: what arrives is what a test says, what is sent is kept."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from math import inf

import trio

from actors.transport import AtOnce, PeerGoneError, SlowPeerError, leave
from ksmp.codec import MSGPACK
from ksmp.events import ServerEvent


class FakeTransport:
    """Remembers what was sent. What is queued goes out while `is_writable`."""

    hands_over = False  # whether it gives what arrives to `at_once`, as it may

    def __init__(self, write_seconds: float = inf) -> None:
        self.write_seconds = write_seconds
        self.sent: list[bytes] = []
        self.queued: list[bytes] = []
        self.most_queued_bytes = 0
        self.is_writable = True
        self.reads = 0  # which have been taken, or are about to be
        self.is_released = False
        self.close_code: int | None = None
        self.last_heard = trio.current_time()
        self.pings = 0
        self.controls_left = 10**9
        self._writable = trio.Event()
        self._incoming: deque[Sequence[bytes | bytearray]] = deque()
        self._arrived = trio.Event()
        self._is_gone = False
        self._at_once: AtOnce | None = None  # while `receive` waits

    # what the test does

    def arrive(self, *messages: bytes) -> None:
        left: list[bytes | bytearray] = list(messages)
        self.last_heard = trio.current_time()
        if self._at_once is not None and self._at_once(left):
            self.reads += 1
        else:
            self._at_once = None
            self._incoming.append(left)
            self._arrived.set()

    def hang_up(self) -> None:
        self._is_gone = True
        self._arrived.set()
        self._writable.set()

    def stall(self) -> None:
        self.is_writable = False
        self._writable = trio.Event()

    def go_on(self) -> None:
        self.is_writable = True
        self._writable.set()

    def take(self, messages: int) -> None:
        """Let the operating system take some of what is queued."""
        self.sent += self.queued[:messages]
        del self.queued[:messages]

    def events(self) -> list[ServerEvent]:
        events = [MSGPACK.decode_server_event(message) for message in self.sent]
        return [event for event in events if event is not None]

    # what the actor sees

    @property
    def queued_bytes(self) -> int:
        return sum(map(len, self.queued))

    async def receive(self, at_once: AtOnce = leave) -> Sequence[bytes | bytearray]:
        while not self._incoming:
            if self._is_gone or self.close_code is not None:
                await trio.lowlevel.checkpoint()
                raise PeerGoneError
            self._arrived = trio.Event()
            self._at_once = at_once if self.hands_over else None
            try:
                await self._arrived.wait()
            finally:
                self._at_once = None
        await trio.lowlevel.checkpoint()
        self.reads += 1
        self.last_heard = trio.current_time()
        return self._incoming.popleft()

    def send(self, message: bytes) -> None:
        if self.close_code is None:
            self.queued.append(message)
            self.most_queued_bytes = max(self.most_queued_bytes, self.queued_bytes)

    def ping(self) -> None:
        self.pings += 1

    def note_control(self) -> bool:
        self.controls_left -= 1
        return self.controls_left >= 0

    def flush(self) -> bool:
        if self.is_writable:
            self.sent += self.queued
            self.queued = []
        return not self.queued

    async def drain(self) -> None:
        await trio.lowlevel.checkpoint()
        while not self._is_gone and not self.flush():
            with trio.move_on_after(self.write_seconds) as in_time:
                await self._writable.wait()
            if in_time.cancelled_caught:
                raise SlowPeerError
        if self._is_gone:
            raise PeerGoneError

    def close(self, code: int) -> None:
        if self.close_code is None:
            self.close_code = code

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()
        self.flush()
        self.is_released = True
