"""The flooders: connections that send as fast as the relay takes it, and read what it answers.

Run as a process of its own (`python -m bench.isolation.flooder`). On standard input a `FloodPlan`,
then `begin`, then `end`, a line each; on standard output an answer to each, a line, the last of
them a `Flooded`. What they write is in no history: the conversations must be known not to be new.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from contextlib import suppress
from time import process_time, time_ns
from typing import Final

import msgspec
import uvloop
from msgspec import Struct
from picows import WSFrame, WSListener, WSMsgType, WSTransport

from bench.isolation.plan import Flooded
from bench.opening import open_websocket
from bench.process import LoadError
from bench.user import client_message
from ksmp.codec import MSGPACK
from ksmp.events import Envelope, Error, Send, SendAck
from ksmp.malformed import UndecodableError
from ksmp.types import PROTOCOL, ConversationId, IdempotencyKey, MessageId, TimeMs, UserId

BEGIN: Final = b"begin\n"
END: Final = b"end\n"
READY: Final = b"ready\n"

LOWEST_PRIORITY: Final = 19
BATCH: Final = 32
"""Messages that are written at a time."""

RECONNECT_SECONDS: Final = 0.25
"""How long a flooder stays away when it was cut off."""


class Flooder(Struct, frozen=True):
    """One device of one victim's user."""

    token: str
    user: str
    peer: str
    conversation_id: str


class FloodPlan(Struct, frozen=True):
    """Where to, and who."""

    url: str
    size: int
    flooders: tuple[Flooder, ...]


class _Flooding(WSListener):
    """One connection after the other, each used until it is cut off."""

    def __init__(self, plan: FloodPlan, flooder: Flooder, counts: Counter[str]) -> None:
        self._plan = plan
        self._flooder = flooder
        self._counts = counts
        self._ciphertext = os.urandom(plan.size)
        self._is_open = asyncio.Event()
        self._has_room = asyncio.Event()
        self._transport: WSTransport | None = None

    async def connect(self) -> None:
        """Open a connection.

        Raises:
            LoadError: the relay is not there, or refuses.
        """
        await open_websocket(self, self._plan.url, self._flooder.token)

    async def flood(self) -> None:
        """Send until cancelled."""
        while True:
            try:
                if not self._is_open.is_set():
                    await self.connect()
            except LoadError:
                await asyncio.sleep(RECONNECT_SECONDS)
                continue
            await self._send_until_cut_off()
            self._counts["cut_off"] += 1
            await asyncio.sleep(RECONNECT_SECONDS)

    def disconnect(self) -> None:
        """Drop the connection."""
        if self._transport is not None:
            self._transport.disconnect(graceful=False)

    async def _send_until_cut_off(self) -> None:
        while self._is_open.is_set():
            await self._has_room.wait()
            if self._transport is not None and self._is_open.is_set():
                batch = b"".join(self._next_message() for _ in range(BATCH))
                self._transport.underlying_transport.write(batch)
                self._counts["written"] += BATCH
            await asyncio.sleep(0)

    def _next_message(self) -> bytes:
        self._counts["made"] += 1
        name = f"flood.{self._flooder.user}.{self._counts['made']}"
        envelope = Envelope(
            PROTOCOL,
            ConversationId(self._flooder.conversation_id),
            MessageId(name),
            UserId(self._flooder.user),
            UserId(self._flooder.peer),
            self._ciphertext,
            "text",
            TimeMs(time_ns() // 1_000_000),
            IdempotencyKey(name),
        )
        return client_message(MSGPACK.encode(Send(envelope)))

    # ── what picows calls ────────────────────────────────────────────────────────────────────

    def on_ws_connected(self, transport: WSTransport) -> None:
        """There is a connection to flood."""
        self._transport = transport
        self._is_open.set()
        self._has_room.set()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Count the answer."""
        if frame.msg_type is WSMsgType.CLOSE:
            self._close()
        elif frame.msg_type is WSMsgType.BINARY:
            with suppress(UndecodableError):
                match MSGPACK.decode_server_event(frame.get_payload_as_bytes()):
                    case SendAck():
                        self._counts["acked"] += 1
                    case Error():
                        self._counts["refused"] += 1
                    case _:
                        pass

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """It is over."""
        self._close()

    def pause_writing(self) -> None:
        """The socket takes no more for now."""
        self._has_room.clear()

    def resume_writing(self) -> None:
        """It does again."""
        self._has_room.set()

    def _close(self) -> None:
        self._is_open.clear()
        self._has_room.set()  # whoever waits for room finds out
        self.disconnect()


def main() -> None:
    """Do as standard input says."""
    os.nice(LOWEST_PRIORITY)
    with suppress(LoadError, OSError):  # the relay has gone, or whoever asked: others tell of it
        uvloop.run(_run())


async def _run() -> None:
    lines = await _standard_input()
    asked = await lines.readline()
    if not asked.endswith(b"\n"):
        return  # whoever asks has ended before it could
    plan = msgspec.json.decode(asked, type=FloodPlan)
    counts: Counter[str] = Counter()
    flooding = [_Flooding(plan, flooder, counts) for flooder in plan.flooders]
    for one in flooding:
        await one.connect()
    _answer(READY)
    if await lines.readline() != BEGIN:
        return
    began = process_time()
    tasks = [asyncio.create_task(one.flood()) for one in flooding]
    _answer(READY)
    await lines.readline()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for one in flooding:
        one.disconnect()
    flooded = Flooded(
        counts["written"],
        counts["acked"],
        counts["refused"],
        counts["cut_off"],
        process_time() - began,
    )
    _answer(msgspec.json.encode(flooded) + b"\n")


async def _standard_input() -> asyncio.StreamReader:
    reader = asyncio.StreamReader(limit=1 << 26)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


def _answer(line: bytes) -> None:
    sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
