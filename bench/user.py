"""One user's connection in the load: it sends when it is told to, and takes all that arrives.

Reading is done by picows (C, on uvloop), events by msgspec; writing joins all the frames that one
read gave rise to into one system call. So the generator costs less than what it measures, and it
tells its own share of a core, so that anyone can see whether that held.
"""

from __future__ import annotations

import asyncio
import base64
import os
import random
from collections.abc import Callable
from struct import Struct
from time import monotonic_ns, time_ns
from typing import Final

import msgspec
from msgspec import UNSET
from picows import WSFrame, WSListener, WSMsgType, WSTransport
from websockets.utils import apply_mask as _apply_mask_in_python

from bench.meter import Meter
from bench.opening import resumed_websocket
from bench.process import LoadError
from bench.witness import Witness
from ksmp.codec import Codec
from ksmp.events import (
    Connected,
    Envelope,
    Error,
    InboxFrame,
    Resume,
    ResumeComplete,
    Send,
    SendAck,
)
from ksmp.malformed import UndecodableError
from ksmp.types import (
    PROTOCOL,
    ConversationId,
    GlobalInboxSeq,
    IdempotencyKey,
    MessageId,
    TimeMs,
    UserId,
)

try:
    from websockets.speedups import apply_mask
except ImportError:  # a platform without the compiled extension
    apply_mask = _apply_mask_in_python

_NO_STATUS: Final = 1005  # RFC 6455 section 7.4.1
_BINARY: Final = 0x82  # a whole message (RFC 6455 section 5.2)
_TEXT: Final = 0x81
_MASKED: Final = 0x80
_short_header = Struct("!BB").pack
_medium_header = Struct("!BBH").pack
_long_header = Struct("!BBQ").pack


CARRYING: Final = (WSMsgType.BINARY, WSMsgType.TEXT, WSMsgType.CONTINUATION)
"""The kinds of frames that hold an event, or a part of one; the most frequent first."""


class Talk:
    """One side of a conversation: whoever sends in it, to this recipient."""

    __slots__ = ("conversation_id", "number", "recipient")

    def __init__(self, conversation_id: ConversationId, recipient: UserId) -> None:
        self.conversation_id = conversation_id
        self.recipient = recipient
        self.number = -1
        """In the history, once something has been sent."""


class User(WSListener):
    """One connection of one user.

    Whoever decides who sends next sets `next_turn`, which is called at each ack while the meter
    says that we are sending. `name` begins the ids of its messages, and is no other connection's.
    """

    def __init__(
        self,
        *,
        token: str,
        name: str,
        size: int,
        codec: Codec,
        meter: Meter,
        witness: Witness,
        fail: Callable[[str], None],
    ) -> None:
        self.base = GlobalInboxSeq(0)
        self.token = token
        self.user = subject(token)
        self.next_turn: Callable[[], None] = _nobody_next
        self._witness = witness
        self._codec = codec
        self._first_byte = _TEXT if codec.is_text else _BINARY
        self._connection = self._content = -1
        self._opening_began_ns = 0
        self._attempts: dict[str, int] = {}
        self._name = name
        self._ciphertext = os.urandom(size)
        self._meter = meter
        self._fail = fail
        self._sent = 0
        self._unacked: dict[str, bytes] = {}
        self._outgoing: list[bytes] = []
        self._will_flush = False
        self._fragments: list[bytes] = []
        self._resumed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport: WSTransport | None = None
        self._is_closing = False

    async def connect(self, url: str) -> None:
        """Connect and resume from now on.

        Raises:
            LoadError: the relay is not there, refuses, or does not answer.
        """
        self._opening_began_ns = monotonic_ns()
        await resumed_websocket(self, url, self.token, self._resumed, codec=self._codec)

    def begin(self) -> None:
        """Everybody has connected: tell what is going to be sent."""
        self._content = self._witness.content(self._ciphertext)

    def say(self, talk: Talk) -> None:
        """Send a new message there; it goes out with the next flush."""
        self._sent += 1
        message_id = MessageId(f"{self._name}.{self._sent}")
        created_ms = time_ns() // 1_000_000
        message = self._codec.encode(
            Send(
                Envelope(
                    PROTOCOL,
                    talk.conversation_id,
                    message_id,
                    self.user,
                    talk.recipient,
                    self._ciphertext,
                    "text",
                    TimeMs(created_ms),
                    IdempotencyKey(message_id),
                )
            )
        )
        if talk.number < 0:
            talk.number = self._witness.talk(talk.conversation_id, self.user, talk.recipient)
        self._unacked[message_id] = message
        self._attempts[message_id] = self._witness.sent(
            self._connection, talk.number, self._content, created_ms, message_id
        )
        self._meter.note_sent(message_id)
        self._write(message)

    def flush(self) -> None:
        """Everything that was said goes out, in one system call."""
        self._will_flush = False
        if self._outgoing and self._transport is not None:
            self._transport.underlying_transport.write(b"".join(self._outgoing))
            self._outgoing.clear()

    def flush_soon(self) -> None:
        """Flush once all that is being read now has been acted upon."""
        if not self._will_flush:
            self._will_flush = True
            asyncio.get_running_loop().call_soon(self.flush)

    def close(self) -> None:
        """Drop the connection, once."""
        if not self._is_closing and self._connection >= 0:
            self._witness.closed(self._connection, None)
        self._is_closing = True
        self._resumed.cancel()
        if self._transport is not None:
            self._transport.disconnect(graceful=False)

    # ── what picows calls ────────────────────────────────────────────────────────────────────

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Take the transport: the relay's first event may come before `connect` returns."""
        self._transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Act on one frame; what is to be written goes out after the last one of a read."""
        kind = frame.msg_type
        if kind in CARRYING:
            self._take(frame.get_payload_as_bytes(), frame.fin)
        elif kind is WSMsgType.CLOSE:
            self._take_close(close_code(frame))
        if frame.last_in_buffer:
            self._witness.read_is_over(self._connection)
            self.flush()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """Without a connection its window can never be filled again: the run has failed."""
        self._lose("a connection was lost")

    # ── what arrives ─────────────────────────────────────────────────────────────────────────

    def _take(self, payload: bytes, is_last: bool) -> None:
        if self._fragments or not is_last:
            self._fragments.append(payload)
            if not is_last:
                return
            payload = b"".join(self._fragments)
            self._fragments.clear()
        try:
            event = self._codec.decode_server_event(payload)
        except UndecodableError:
            self._lose("the relay sent what is not an event")
            return
        match event:
            case InboxFrame():
                self._take_frame(event, payload)
            case SendAck():
                self._take_ack(event, payload)
            case Error():
                self._take_error(event)
            case Connected():
                self.base = event.head_global_inbox_seq
                self._connection = self._witness.connected(event, self._opening_began_ns)
                self._witness.resume(self._connection, None)
                self._write(self._codec.encode(Resume(None)))
            case ResumeComplete():
                self._witness.resumed(self._connection, event.global_inbox_seq)
                if not self._resumed.done():
                    self._resumed.set_result(None)
            case _:
                pass

    def _take_frame(self, frame: InboxFrame, raw: bytes) -> None:
        self._witness.frame(self._connection, frame, raw)
        if frame.envelope.sender_user_id != self.user:
            self._meter.note_delivered(frame.envelope.message_id)

    def _take_ack(self, ack: SendAck, raw: bytes) -> None:
        attempt = self._attempts.pop(ack.idempotency_key, None)
        if attempt is not None:
            self._witness.acked(attempt, ack, raw)
        if self._unacked.pop(ack.idempotency_key, None) is None:
            return
        self._meter.note_acked(ack.message_id)
        if self._meter.is_sending:
            self.next_turn()

    def _take_error(self, error: Error) -> None:
        key = UNSET if error.about is UNSET else error.about.idempotency_key
        attempt = None if key is UNSET else self._attempts.get(key)
        self._witness.refused(self._connection, attempt, error)
        if key is UNSET or not error.retryable or error.retry_after_ms is UNSET:
            self._lose(f"the relay refused: {error.code}")
            return
        if error.code == "rate_limited":
            self._meter.rate_limited += 1
        else:
            self._meter.retried += 1
        loop = asyncio.get_running_loop()
        loop.call_later(error.retry_after_ms / 1_000, self._send_again, key)

    def _take_close(self, code: int) -> None:
        if not self._is_closing:
            self._witness.closed(self._connection, code)
        self._lose(f"the relay closed with {code}")

    def _lose(self, reason: str) -> None:
        if not self._is_closing:
            self._fail(reason)

    # ── what is sent ─────────────────────────────────────────────────────────────────────────

    def _send_again(self, key: str) -> None:
        """Repeat a refused send as it was; its latency counts from the first time."""
        message = self._unacked.get(key)
        if message is not None and not self._is_closing:
            self._attempts[key] = self._witness.sent_again(self._connection, self._attempts[key])
            self._write(message)
            self.flush()

    def _write(self, message: bytes) -> None:
        """Frame a message and keep it until the flush."""
        self._outgoing += _framed(message, self._first_byte)


def _nobody_next() -> None:
    """Before anybody has decided who sends."""


def client_message(message: bytes, *, is_text: bool = False) -> bytes:
    """A whole WebSocket message as a client sends it."""
    return b"".join(_framed(message, _TEXT if is_text else _BINARY))


def _framed(message: bytes, first_byte: int) -> tuple[bytes, bytes, bytes]:
    """The header, the mask and the masked payload of a message."""
    mask = random.getrandbits(32).to_bytes(4, "big")
    length = len(message)
    if length < 126:
        header = _short_header(first_byte, _MASKED | length)
    elif length < 65_536:
        header = _medium_header(first_byte, _MASKED | 126, length)
    else:
        header = _long_header(first_byte, _MASKED | 127, length)
    return header, mask, apply_mask(message, mask)


def subject(token: str) -> UserId:
    """The user a token is for; the relay is the one who checks it.

    Raises:
        LoadError: this is not a JWT.
    """
    try:
        claims = token.split(".")[1]
        padded = claims + "=" * (-len(claims) % 4)
        return UserId(msgspec.json.decode(base64.urlsafe_b64decode(padded))["sub"])
    except (LookupError, TypeError, ValueError):
        raise LoadError("a line of the tokens file is not a token") from None


def close_code(frame: WSFrame) -> int:
    """The code of a close frame, 1005 where it has none."""
    payload = frame.get_payload_as_bytes()
    return int.from_bytes(payload[:2], "big") if len(payload) >= 2 else _NO_STATUS
