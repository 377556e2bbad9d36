"""The NATS client protocol as far as a load needs it."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable
from typing import Final

from bench.peers.line import Line
from bench.process import LoadError

REQUEST_SECONDS: Final = 30.0

_INBOX_SID: Final = b"1"
_MESSAGES_SID: Final = b"2"
_HEADER_START: Final = b"NATS/1.0\r\nNats-Msg-Id: "
_STATUS_START: Final = b"NATS/1.0 100"
_STALLED: Final = b"Nats-Consumer-Stalled: "
_PUBLISH_ACK_START: Final = b'{"stream":'


class NatsConnection(Line):
    """One connection. Acks and messages are told by the message id they are about."""

    def __init__(
        self,
        take_ack: Callable[[str], None],
        take_message: Callable[[str], None],
        fail: Callable[[str], None],
    ) -> None:
        super().__init__(fail)
        self._take_ack = take_ack
        self._take_message = take_message
        self._inbox = b""
        self._incoming = b""
        self._answers: dict[bytes, asyncio.Future[bytes]] = {}
        self._pongs: list[asyncio.Future[bytes]] = []
        self._numbers = itertools.count(1)

    async def connect(self, host: str, port: int, name: str, *, hears_itself: bool) -> None:
        """Connect and say who we are.

        Raises:
            LoadError: the server is not there, or does not answer.
        """
        await self.open(host, port)
        options = {
            "verbose": False,
            "pedantic": False,
            "headers": True,
            "no_responders": True,
            "echo": hears_itself,
            "protocol": 1,
            "name": name,
            "lang": "python",
            "version": "0",
        }
        self._inbox = f"_INBOX.{name}.".encode()
        self._write(b"CONNECT %b\r\n" % json.dumps(options).encode())
        self._write(b"SUB %b> %b\r\n" % (self._inbox, _INBOX_SID))
        await self.ping()

    def subscribe(self, subject: str) -> None:
        """Have what is published on `subject` told as messages."""
        self._write(b"SUB %b %b\r\n" % (subject.encode(), _MESSAGES_SID))

    async def ping(self) -> None:
        """Return when the server has acted on all that was written before."""
        pong: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._pongs.append(pong)
        self._write(b"PING\r\n")
        await self._answer(pong)

    async def request(self, subject: str, payload: bytes) -> bytes:
        """The answer to a request."""
        reply = b"%brequest.%d" % (self._inbox, next(self._numbers))
        answer = self._answers[reply] = asyncio.get_running_loop().create_future()
        self._write(b"PUB %b %b %d\r\n%b\r\n" % (subject.encode(), reply, len(payload), payload))
        return await self._answer(answer)

    def publish(self, subject: str, message_id: str, payload: bytes) -> None:
        """Queue a publish that JetStream acks; it goes out with the next flush."""
        ascii_id = message_id.encode()
        header = b"%b%b\r\n\r\n" % (_HEADER_START, ascii_id)
        total = len(header) + len(payload)
        self.queue(
            b"HPUB %b %back.%b %d %d\r\n%b%b\r\n"
            % (subject.encode(), self._inbox, ascii_id, len(header), total, header, payload)
        )

    def data_received(self, chunk: bytes) -> None:
        """Act on every whole protocol message; what that gives rise to is written at the end."""
        buffer = self._incoming + chunk if self._incoming else chunk
        position = 0
        while (end := buffer.find(b"\r\n", position)) >= 0:
            after = self._take_line(buffer, position, end)
            if after < 0:
                break
            position = after
        self._incoming = buffer[position:]
        self.flush()

    def _take_line(self, buffer: bytes, start: int, end: int) -> int:
        """Act on the message that begins at `start`; where the next begins, or -1 if not whole."""
        line, payload = buffer[start:end], end + 2
        if line.startswith((b"MSG ", b"HMSG ")):
            words = line.split(b" ")
            after = payload + int(words[-1]) + 2
            if after > len(buffer):
                return -1
            has_header = words[0] == b"HMSG"
            reply = words[3] if len(words) == (6 if has_header else 5) else b""
            header = buffer[payload : payload + int(words[-2])] if has_header else b""
            body = buffer[payload + len(header) : after - 2]
            self._take(words[1], words[2], reply, header, body)
            return after
        if line.startswith(b"PING"):
            self._write(b"PONG\r\n")
        elif line.startswith(b"PONG"):
            self._pongs.pop(0).set_result(b"")
        elif line.startswith(b"-ERR"):
            self._lose("nats-server reported an error")
        return payload

    def _take(self, subject: bytes, sid: bytes, reply: bytes, header: bytes, body: bytes) -> None:
        if sid == _MESSAGES_SID:
            if header.startswith(_HEADER_START):
                message_id = header[len(_HEADER_START) : header.index(b"\r", len(_HEADER_START))]
                self._take_message(message_id.decode())
            elif header.startswith(_STATUS_START):
                self._answer_flow_control(reply, header)
        elif subject in self._answers:
            self._answers.pop(subject).set_result(body)
        elif body.startswith(_PUBLISH_ACK_START) and b'"error"' not in body:
            self._take_ack(subject[len(self._inbox) + len(b"ack.") :].decode())
        else:
            self._lose("nats-server refused a publish")

    def _answer_flow_control(self, reply: bytes, header: bytes) -> None:
        """Say that all up to here has been taken, as clients with flow control must."""
        if _STALLED in header:
            reply = header.partition(_STALLED)[2].partition(b"\r\n")[0]
        if reply:
            self._write(b"PUB %b 0\r\n\r\n" % reply)

    def _write(self, message: bytes) -> None:
        self.queue(message)
        self.flush()

    async def _answer(self, answer: asyncio.Future[bytes]) -> bytes:
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                return await answer
        except TimeoutError:
            raise LoadError("nats-server did not answer") from None
