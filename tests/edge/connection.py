"""An authenticated WebSocket by hand: any bytes out, every frame and event in, close included."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Final

from tests.edge.answers import assert_error
from tests.edge.case import BARE_END
from tests.edge.line import Line
from tests.wire import messages
from tests.wire.codecs import Codec, Event, RawFrame
from tests.wire.raw import (
    BINARY,
    CLOSE,
    ENDED,
    PING,
    PONG,
    TEXT,
    RawFrameParts,
    frame,
    message,
)

NO_CODE: Final = 1005
"""RFC 6455 section 7.4.1: a close frame without a code."""

GOOD_EVENTS: Final = 10


class Connection:
    """A WebSocket past `ksmpv3.connected`. `fresh` names things that only this row has.

    Frames of the inbox, which arrive when they like, are put aside; pings of the relay are
    answered.
    """

    def __init__(
        self,
        line: Line,
        codec: Codec,
        user: str,
        device: str,
        fresh: Callable[[str], str],
        deviation: str | None,
    ) -> None:
        self.line = line
        self.codec = codec
        self.user = user
        self.device = device
        self.connected: Event = {}
        self.is_resumed = False
        self.inbox: list[Event] = []
        self._fresh = fresh
        self._deviation = deviation
        self._numbers = count(1)

    # ── saying something ─────────────────────────────────────────────────────────────────────

    async def send(self, *chunks: bytes) -> None:
        """Write bytes as they are."""
        await self.line.send(*chunks)

    async def tell_raw(self, *contents: RawFrame) -> None:
        """Send whole messages: text for str, binary for bytes."""
        await self.line.send(*map(message, contents))

    async def tell(self, *events: Event) -> None:
        """Send events, written by the independent codec."""
        await self.tell_raw(*map(self.codec.encode, events))

    def envelope(self, recipient: str | None = None, **fields: object) -> Event:
        """A good envelope to someone (a stranger unless named), every name of it fresh."""
        number = next(self._numbers)
        names = {
            "conversationId": self._fresh("conversation"),
            "messageId": self._fresh("message"),
            "idempotencyKey": self._fresh("key"),
            "ciphertext": self._fresh("ciphertext").encode(),
            "clientCreatedAtMs": 1_790_000_000_000 + number,
        }
        recipient = recipient or self._fresh("peer")
        return messages.envelope(self.user, recipient, **(names | fields))

    # ── hearing something ────────────────────────────────────────────────────────────────────

    async def event(self) -> Event:
        """The next event that is no frame of the inbox."""
        while (event := await self._any_event())["type"] == "ksmpv3.inbox.frame":
            self.inbox.append(event)
        return event

    async def inbox_frame(self) -> Event:
        """The next frame of the inbox; no other event may come before it."""
        if self.inbox:
            return self.inbox.pop(0)
        event = await self._any_event()
        assert event["type"] == "ksmpv3.inbox.frame", event
        return event

    async def error(self, code: str, about: Event | None = None) -> Event:
        """The next event, which must be exactly this error."""
        event = await self.event()
        assert_error(event, code, about)
        return event

    async def ack_of(self, envelope: Event) -> Event:
        """The next event, which must be the ack of this envelope."""
        event = await self.event()
        assert event["type"] == "ksmpv3.send.ack", event
        names = ("conversationId", "recipientUserId", "messageId", "idempotencyKey")
        assert all(event[name] == envelope[name] for name in names), event
        return event

    async def closes(self, code: int) -> None:
        """The relay says nothing more but a close with `code`, and ends the line.

        Its close is answered, as a good client would.
        """
        answer = await self._next_frame()
        if answer is not None and answer.opcode != CLOSE:
            raise AssertionError(f"not a close: {answer}")
        await self._is_close(answer, code)

    async def _is_close(self, answer: RawFrameParts | None, code: int) -> None:
        if self._deviation == BARE_END:
            assert answer is None, f"the deviation is gone: {answer}"
            return
        assert answer is not None, f"{ENDED} instead of {code}"
        assert answer.first_byte == 0x80 | CLOSE, answer
        assert len(answer.payload) in (0, 2), f"a reason is no part of it: {answer.payload!r}"
        said = int.from_bytes(answer.payload[:2], "big") if answer.payload else NO_CODE
        assert said == code, f"{said} instead of {code}"
        await self.line.send(frame(CLOSE, answer.payload))
        assert await self.line.is_at_end(), "more came behind the close"

    async def closes_after_pongs(self, code: int, at_most: int) -> None:
        """The same, but up to so many WebSocket pongs and pong events come before it."""
        pongs = 0
        while (answer := await self._next_frame()) is not None and answer.opcode != CLOSE:
            if answer.opcode != PONG:
                text = answer.payload.decode() if answer.opcode == TEXT else answer.payload
                event = self.codec.decode(text)
                assert event["type"] == "ksmpv3.pong", event
            pongs += 1
        assert pongs <= at_most, f"{pongs} pongs"
        await self._is_close(answer, code)

    async def pong(self, payload: bytes) -> None:
        """The next frame, which must be a pong with this payload."""
        answer = await self.line.frame()
        assert answer is not None, "the connection ended"
        assert (answer.first_byte, answer.payload) == (0x80 | PONG, payload)

    async def _any_event(self) -> Event:
        answer = await self._next_frame()
        assert answer is not None, "the connection ended"
        assert answer.opcode in (TEXT, BINARY), f"a close instead of an event: {answer}"
        assert answer.first_byte & 0x70 == 0, answer
        is_text = answer.opcode == TEXT
        return self.codec.decode(answer.payload.decode() if is_text else answer.payload)

    async def _next_frame(self) -> RawFrameParts | None:
        while (answer := await self.line.frame()) is not None and answer.opcode == PING:
            await self.line.send(frame(PONG, answer.payload))
        return answer

    # ── good behaviour ───────────────────────────────────────────────────────────────────────

    async def resume(self, cursor: int | None = 0) -> None:
        """Resume, to the end of the replay, which is put aside with the rest of the inbox."""
        await self.tell(messages.resume(cursor))
        event = await self.event()
        while event["type"] == "ksmpv3.read":
            event = await self.event()
        assert event["type"] == "ksmpv3.resume.complete", event
        self.is_resumed = True

    async def still_works(self) -> None:
        """A good send is acked, and comes back once resumed: all goes on as if nothing had been."""
        envelope = self.envelope()
        await self.tell(messages.send(envelope))
        await self.ack_of(envelope)
        while self.is_resumed and not self._has_come_back(envelope):
            event = await self._any_event()
            assert event["type"] == "ksmpv3.inbox.frame", event
            self.inbox.append(event)

    def _has_come_back(self, envelope: Event) -> bool:
        key = envelope["idempotencyKey"]
        return any(frame["envelope"]["idempotencyKey"] == key for frame in self.inbox)

    async def good_events(self, *, resume: bool = True) -> None:
        """Ten good events, each with its answer: a resume (unless told not to), sends, a read
        acknowledgement, a ping of either kind."""
        left = GOOD_EVENTS - 3
        if resume:
            await self.resume()
            left -= 1
        sent = [self.envelope() for _ in range(left)]
        for envelope in sent:
            await self.tell(messages.send(envelope))
            await self.ack_of(envelope)
        read = sent[-1]
        await self.tell(messages.ack_read(read["conversationId"], read["recipientUserId"], 1))
        event = await self.event()
        assert (event["type"], event["serverSeq"]) == ("ksmpv3.read", 1), event
        nonce = self._fresh("nonce")
        await self.tell(messages.ping(nonce))
        event = await self.event()
        assert (event["type"], event["nonce"]) == ("ksmpv3.pong", nonce), event
        if resume:
            while len(self.inbox) < left:
                self.inbox.append(await self.inbox_frame())
        await self.send(frame(PING, nonce.encode()))
        await self.pong(nonce.encode())
