"""What a connection is counted for is what it keeps: nothing that is sent, taken or lost stays."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import trio
from trio.testing import memory_stream_pair

from actors.transport import PeerGoneError
from ksmp.websocket import ServerFraming
from relay.transport.stream import Bytes, WrappedStream
from relay.transport.websocket import WebSocketTransport
from relay.transport.write_queue import PIECE_BYTES, SENT_KEPT_BYTES, WriteQueue
from tests.wire import raw

MESSAGE_BYTES = 1_000_000
SLACK_BYTES = 40_000  # what Python itself allocates meanwhile


class Slow(WrappedStream):
    """A stream that takes so many bytes and then no more."""

    def __init__(self, room: int) -> None:
        ours, _ = memory_stream_pair()
        super().__init__(ours, lambda: None)
        self.room = room

    def send_nowait(self, piece: Bytes) -> int:
        taken = min(len(piece), self.room)
        self.room -= taken
        return taken

    async def send_some(self, piece: Bytes) -> int:
        await trio.lowlevel.checkpoint()
        while not (taken := self.send_nowait(piece)):
            await trio.sleep_forever()
        return taken


@contextmanager
def measured() -> Iterator[list[int]]:
    """A list that gets what was allocated in the block and is still held at its end."""
    held: list[int] = []
    tracemalloc.start()
    try:
        yield held
        gc.collect()
        held.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("way", ["flush", "drain"])
@pytest.mark.parametrize("room", [100_000, 500_000, MESSAGE_BYTES - 1_000])
async def test_what_is_sent_of_a_long_message_is_not_kept_for_the_rest(way: str, room: int) -> None:
    queue = WriteQueue(Slow(room), write_seconds=3_600)
    with measured() as held:
        queue.put(b"header", bytes(MESSAGE_BYTES))
        if way == "flush":
            assert not queue.flush()
        else:
            with trio.move_on_after(0.05):
                await queue.drain()
        left = queue.queued_bytes

    assert left >= MESSAGE_BYTES - room
    assert held[0] <= left + SENT_KEPT_BYTES + SLACK_BYTES


def test_many_small_pieces_are_counted_for_what_they_cost() -> None:
    queue = WriteQueue(Slow(0), write_seconds=3_600)
    with measured() as held:
        for number in range(5_000):
            queue.put(b"%04d" % number)

    assert held[0] <= queue.queued_bytes + SLACK_BYTES
    assert queue.queued_bytes == 5_000 * (4 + PIECE_BYTES)


@pytest.mark.parametrize(
    "part",
    [
        raw.frame(raw.BINARY, bytes(MESSAGE_BYTES))[:-1],
        raw.frame(raw.BINARY, bytes(MESSAGE_BYTES // 2), fin=False)
        + raw.frame(raw.CONTINUATION, bytes(MESSAGE_BYTES // 2))[:-1],
    ],
    ids=["a message", "fragments"],
)
async def test_of_a_connection_that_is_over_nothing_is_kept_that_came_in_part(part: bytes) -> None:
    ours, theirs = memory_stream_pair()
    framing = ServerFraming(is_text=False, max_frame_bytes=2 * MESSAGE_BYTES)
    stream = WrappedStream(ours, lambda: None)
    transport = WebSocketTransport(stream, framing, is_text=False, write_seconds=1.0)
    with measured() as held:
        await theirs.send_all(part)
        await theirs.aclose()
        with pytest.raises(PeerGoneError):
            while True:
                assert await transport.receive() == []
        during = tracemalloc.get_traced_memory()[0]
        await transport.aclose()

    assert during > MESSAGE_BYTES // 2, "there was something to let go of"
    assert held[0] <= SLACK_BYTES


def test_a_message_that_was_delivered_is_not_kept_until_the_next() -> None:
    framing = ServerFraming(is_text=False, max_frame_bytes=2 * MESSAGE_BYTES)
    half = bytes(MESSAGE_BYTES // 2)
    with measured() as held:
        assert framing.receive(raw.frame(raw.BINARY, half, fin=False), 0.0) == []
        (message,) = framing.receive(raw.frame(raw.CONTINUATION, half), 0.0)
        assert len(message) == MESSAGE_BYTES
        del message

    assert held[0] <= SLACK_BYTES
