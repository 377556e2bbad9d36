"""The load on a Redis server, in the shape of `bench.generator`, run as a process of its own.

Each pair is one stream. A send is an XADD, its ack is the reply. Each user reads the stream with
XREAD BLOCK on a second connection, since a connection that waits can send nothing meanwhile; what
it gets is what is in the stream, its own entries too, as a stream has no readers' names.
"""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final, cast

from bench.meter import Meter
from bench.peers.line import Line
from bench.peers.pairs import PairsLoad, host_and_port
from bench.peers.resp import NotRespError, Replies, Reply, ReplyError, command
from bench.plan import Plan
from bench.process import run_process

CONNECTING_AT_ONCE: Final = 64


def main() -> None:
    """Run the plan on standard input."""
    run_process(partial(PairsLoad, _User, CONNECTING_AT_ONCE))


class _User:
    """One user: a connection that adds in a closed loop, and one that reads the stream."""

    def __init__(self, number: int, plan: Plan, meter: Meter, fail: Callable[[str], None]) -> None:
        pair, side = divmod(number, 2)
        self._stream = b"dm:%d" % pair
        self._message_prefix = f"{pair}.{side}."
        self._peer_prefix = f"{pair}.{1 - side}."
        self._in_flight = plan.in_flight
        self._ciphertext = os.urandom(plan.size)
        self._meter = meter
        self._fail = fail
        self._sent = itertools.count(1)
        self._unacked: deque[str] = deque()
        self._adding = _Connection(self._take_ack, fail)
        self._reading = _Connection(self._take_entries, fail)

    async def connect(self, url: str) -> None:
        """Both connections; the stream is read from its very beginning, so nothing is missed."""
        host, port = host_and_port(url)
        await self._adding.open(host, port)
        await self._reading.open(host, port)
        self._read_after(b"0-0")
        self._reading.flush()

    def fill_window(self) -> None:
        """Add until `in_flight` are unacked."""
        for _ in range(self._in_flight):
            self._add_next()
        self._adding.flush()

    def close(self) -> None:
        """Drop the connections."""
        self._adding.close()
        self._reading.close()

    def _add_next(self) -> None:
        message_id = f"{self._message_prefix}{next(self._sent)}"
        self._meter.note_sent(message_id)
        self._unacked.append(message_id)
        self._adding.queue(
            command(b"XADD", self._stream, b"*", b"id", message_id.encode(), b"c", self._ciphertext)
        )

    def _take_ack(self, reply: Reply) -> None:
        """Replies come in the order of the commands."""
        if not isinstance(reply, bytes):
            self._fail("the Redis server refused an XADD")
            return
        self._meter.note_acked(self._unacked.popleft())
        if self._meter.is_sending:
            self._add_next()

    def _take_entries(self, reply: Reply) -> None:
        try:
            # One stream was asked for: [[its key, [[entry, [name, value, ...]], ...]]].
            ((_key, entries),) = cast("list[tuple[bytes, list[tuple[bytes, list[bytes]]]]]", reply)
            for _entry, fields in entries:
                message_id = fields[1].decode()
                if message_id.startswith(self._peer_prefix):
                    self._meter.note_delivered(message_id)
            self._read_after(entries[-1][0])
        except (TypeError, ValueError, IndexError):
            self._fail("the Redis server refused an XREAD")

    def _read_after(self, entry: bytes) -> None:
        self._reading.queue(command(b"XREAD", b"BLOCK", b"0", b"STREAMS", self._stream, entry))


class _Connection(Line):
    """Requests, and their replies in order."""

    def __init__(self, take: Callable[[Reply], None], fail: Callable[[str], None]) -> None:
        super().__init__(fail)
        self._take = take
        self._replies = Replies()

    def data_received(self, chunk: bytes) -> None:
        """Take every whole reply; what that gives rise to is written at the end."""
        try:
            for reply in self._replies.feed(chunk):
                if isinstance(reply, ReplyError):
                    self._fail(f"the Redis server answered {reply}")
                    return
                self._take(reply)
        except NotRespError:
            self._fail("the Redis server does not speak RESP2")
            return
        self.flush()


if __name__ == "__main__":
    main()
