"""What a test's clients do and see, as a history for `ksmp-relay check`."""

from __future__ import annotations

import hashlib
from collections import defaultdict, deque

from bench.checker.digests import Envelope
from bench.checker.records import Frame as RecordedFrame
from bench.history import Recorder
from tests.wire.clients import Frame, Peer
from tests.wire.codecs import Event, RawFrame

UNSETTLED = ("outcome_unknown", "internal")


class Recording:
    """All clients of one run. An envelope that is offered again is the same as before."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.first_attempts: dict[tuple[str, str, str, str], int] = {}

    def line(self, peer: Peer, opening_began_ns: int) -> RecordedLine:
        """A client that has just connected; opening it began at this monotonic time."""
        return RecordedLine(self, peer, opening_began_ns)


class RecordedLine:
    """One connection. Say what is sent before sending it, and what was received after."""

    def __init__(self, recording: Recording, peer: Peer, opening_began_ns: int) -> None:
        self._recording = recording
        self._recorder = recording.recorder
        self._pending: defaultdict[tuple[str, str, str, str], deque[int]] = defaultdict(deque)
        told = peer.connected
        self.user = told["userId"]
        self.number = self._recorder.connected(
            self._recorder.user(self.user),
            device=told["deviceId"],
            subprotocol=peer.codec.subprotocol,
            epoch=told["epoch"],
            head=told["headGlobalInboxSeq"],
            opening_began_ns=opening_began_ns,
        )

    def resume(self, cursor: int | None, *, is_final: bool = False) -> None:
        """Everything after a cursor is asked for."""
        self._recorder.resume(self.number, cursor, is_final=is_final)

    def send(self, envelope: Event) -> None:
        """An envelope is offered, for the first time or again."""
        key = _key(envelope, self.user)
        first = self._recording.first_attempts.get(key)
        if first is not None:
            self._pending[key].append(self._recorder.again(self.number, first))
            return
        people = (envelope["senderUserId"], envelope["recipientUserId"])
        attempt = self._recorder.send(
            self.number,
            self._recorder.conversation(envelope["conversationId"], *people),
            self._recorder.content(envelope["ciphertext"]),
            created_ms=envelope["clientCreatedAtMs"],
            message_id=envelope["messageId"],
            key=envelope["idempotencyKey"],
            content_type=envelope["contentType"],
        )
        self._recording.first_attempts[key] = attempt
        self._pending[key].append(attempt)

    def received(self, *frames: Frame) -> None:
        """Events came, in this order."""
        for frame in frames:
            event = frame.event
            match event["type"]:
                case "ksmpv3.inbox.frame":
                    self._recorder.frames(self.number, (self._frame(event, frame.raw),))
                case "ksmpv3.send.ack":
                    self._recorder.ok(
                        self._pending[_key(event, self.user)].popleft(),
                        server_seq=event["serverSeq"],
                        received_ms=event["serverReceivedAtMs"],
                        chain=event["chain"],
                        raw=_bytes(frame.raw),
                    )
                case "ksmpv3.resume.complete":
                    self._recorder.resumed(self.number, event["globalInboxSeq"])
                case "ksmpv3.error":
                    self._error(event)

    def closed(self, code: int | None = None) -> None:
        """The connection is over."""
        self._recorder.closed(self.number, code)

    def _error(self, event: Event) -> None:
        about = event.get("about", {})
        told = {
            "code": event["code"],
            "action": event["action"],
            "retry_after_ms": event.get("retryAfterMs"),
            "message": event["message"],
        }
        if about.get("type") == "ksmpv3.send" and "idempotencyKey" in about:
            attempt = self._pending[_key(about, self.user)].popleft()
            if event["code"] not in UNSETTLED:
                self._recorder.fail(attempt, **told)
                return
            self._recorder.info(attempt, event["code"])
        truncated = event.get("truncatedThrough")
        self._recorder.error(
            self.number, **told, about=about.get("type"), truncated_through=truncated
        )

    def _frame(self, event: Event, raw: RawFrame) -> RecordedFrame:
        sent = event["envelope"]
        envelope = Envelope(
            sent["conversationId"],
            sent["messageId"],
            sent["senderUserId"],
            sent["recipientUserId"],
            sent["contentType"],
            sent["clientCreatedAtMs"],
            sent["idempotencyKey"],
            hashlib.sha256(sent["ciphertext"]).digest(),
        )
        return self._recorder.frame(
            envelope,
            global_inbox_seq=event["globalInboxSeq"],
            previous=event["previousGlobalInboxSeq"],
            server_seq=sent["serverSeq"],
            received_ms=sent["serverReceivedAtMs"],
            chain=event["chain"],
            raw=_bytes(raw),
        )


def _key(event: Event, sender: str) -> tuple[str, str, str, str]:
    """What a send is matched by: the sender, the conversation, the key."""
    place = (event["conversationId"], event["recipientUserId"], event["idempotencyKey"])
    return sender, *place


def _bytes(raw: RawFrame) -> bytes:
    return raw.encode() if isinstance(raw, str) else raw
