"""The load on an XMPP server, in the shape of `bench.generator`, run as a process of its own.

Each user is one connection. A send is a `<message>` to the peer's full address. Its ack is that of
XEP-0198: the server has handled the stanza, which with its archive on means that both users'
archives have taken it. One `<r>` asks for the acks of all that one write holds. What comes to the
other side has to bear the `<stanza-id>` of its archive, or the run has failed: an `<a>` alone would
not tell that the archive refused.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import os
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final

from picows import WSError, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from bench.meter import Meter
from bench.peers import xmpp
from bench.peers.pairs import PairsLoad
from bench.peers.prosody_server import DOMAIN
from bench.plan import Plan
from bench.process import LoadError, run_process
from bench.user import client_message

CONNECTING_AT_ONCE: Final = 32
HANDSHAKE_SECONDS: Final = 30.0
DEVICE: Final = "bench"
_ASK_FOR_ACK: Final = client_message(xmpp.ASK_FOR_ACK, is_text=True)


def main() -> None:
    """Run the plan on standard input."""
    run_process(partial(PairsLoad, _User, CONNECTING_AT_ONCE))


class _User(WSListener):
    """One user, one connection, one peer; a closed loop of messages."""

    def __init__(self, number: int, plan: Plan, meter: Meter, fail: Callable[[str], None]) -> None:
        self._name = plan.credentials[number]
        pair, side = divmod(number, 2)
        self._message_prefix = f"{pair}.{side}."
        peer = plan.credentials[number ^ 1]
        self._to = f"{peer}@{DOMAIN}/{DEVICE}".encode()
        self._body = base64.b64encode(os.urandom(plan.size))  # XML has no bytes
        self._in_flight = plan.in_flight
        self._meter = meter
        self._fail = fail
        self._sent = itertools.count(1)
        self._acked = 0
        self._received = 0
        self._unacked: deque[str] = deque()
        self._outgoing: list[bytes] = []
        self._answers: asyncio.Queue[bytes] = asyncio.Queue()
        self._is_closing = False
        self._transport: WSTransport | None = None

    async def connect(self, url: str) -> None:
        """Connect, log in, bind, and have the server count what it handles.

        Raises:
            LoadError: the server is not there, or refuses.
        """
        headers = {"Sec-WebSocket-Protocol": xmpp.SUBPROTOCOL}
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                await ws_connect(lambda: self, url, extra_headers=headers)
                await self._log_in()
        except (OSError, WSError) as error:  # one of these is a timeout, too
            raise LoadError(f"cannot log in: {type(error).__name__}") from None

    async def _log_in(self) -> None:
        await self._ask(xmpp.opening(DOMAIN), xmpp.FEATURES)
        await self._ask(xmpp.plain(self._name, self._name), xmpp.PROCEED)
        await self._ask(xmpp.opening(DOMAIN), xmpp.FEATURES)
        await self._ask(xmpp.bind(DEVICE), xmpp.BOUND)
        await self._ask(xmpp.ENABLE_ACKS, xmpp.ENABLED)

    async def _ask(self, question: bytes, wanted: bytes) -> None:
        self._queue(question)
        self._flush()
        answer = await self._answers.get()
        if answer.startswith(b"<open"):
            answer = await self._answers.get()
        if not answer.startswith(wanted) or b"type='error'" in answer:
            raise LoadError("the XMPP server refused a login")

    def fill_window(self) -> None:
        """Send until `in_flight` are unacked."""
        for _ in range(self._in_flight):
            self._send_next()
        self._ask_for_acks()
        self._flush()

    def close(self) -> None:
        """Drop the connection."""
        self._is_closing = True
        if self._transport is not None:
            self._transport.disconnect(graceful=False)

    # ── what picows calls ────────────────────────────────────────────────────────────────────

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Keep the transport."""
        self._transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Act on one frame; what is to be written goes out after the last one of a read."""
        if frame.msg_type is WSMsgType.TEXT and frame.fin:
            self._take(frame.get_payload_as_bytes())
        elif frame.msg_type is WSMsgType.CLOSE or frame.msg_type is WSMsgType.TEXT:
            self._lose("the XMPP server closed a connection, or cut a stanza into frames")
        if frame.last_in_buffer:
            self._flush()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """The run cannot go on."""
        self._lose("a connection was lost")
        self._answers.put_nowait(b"")

    # ── what arrives ─────────────────────────────────────────────────────────────────────────

    def _take(self, frame: bytes) -> None:
        try:
            if xmpp.is_message(frame):
                self._received += 1
                self._take_message(frame)
            elif frame.startswith(b"<a "):
                self._take_acks(xmpp.handled_of(frame))
            elif frame.startswith(b"<r "):
                self._queue(xmpp.ack(self._received))
            else:
                self._answers.put_nowait(frame)
        except xmpp.NotXmppError as error:
            self._lose(f"the XMPP server sent {error}")

    def _take_message(self, frame: bytes) -> None:
        if b"type='error'" in frame[: frame.find(b">")]:
            self._lose("the XMPP server refused a message")
        elif not xmpp.is_archived(frame):
            self._lose("a message is in no archive")
        else:
            self._meter.note_delivered(xmpp.message_id_of(frame).decode())

    def _take_acks(self, handled: int) -> None:
        newly = handled - self._acked
        if newly > len(self._unacked):
            raise xmpp.NotXmppError("an ack of what was never sent")
        self._acked = handled
        for _ in range(newly):
            self._meter.note_acked(self._unacked.popleft())
        if self._meter.is_sending and newly:
            for _ in range(newly):
                self._send_next()
            self._ask_for_acks()

    def _lose(self, reason: str) -> None:
        if not self._is_closing:
            self._fail(reason)

    # ── what is sent ─────────────────────────────────────────────────────────────────────────

    def _send_next(self) -> None:
        message_id = f"{self._message_prefix}{next(self._sent)}"
        self._meter.note_sent(message_id)
        self._unacked.append(message_id)
        self._queue(xmpp.message(self._to, message_id.encode(), self._body))

    def _ask_for_acks(self) -> None:
        self._outgoing.append(_ASK_FOR_ACK)

    def _queue(self, stanza: bytes) -> None:
        self._outgoing.append(client_message(stanza, is_text=True))

    def _flush(self) -> None:
        if self._outgoing and self._transport is not None:
            self._transport.underlying_transport.write(b"".join(self._outgoing))
            self._outgoing.clear()


if __name__ == "__main__":
    main()
