"""What a generator's client has seen, as a history records it."""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from typing import Final, NamedTuple

from msgspec import UNSET

from bench.checker.digests import Envelope, mark, start_of
from bench.checker.records import Frame
from bench.history import Recorder
from ksmp.events import Connected, Error, InboxFrame, Read, RecordedEnvelope, SendAck

SUBPROTOCOL: Final = "ksmpv3.msgpack"

KNOWN: Final = 8_192
"""Envelopes that are remembered until the second frame of them comes."""


def frame_of(recorder: Recorder, frame: InboxFrame, raw: bytes) -> Frame:
    """An inbox frame, with the bytes it came in."""
    sent = frame.envelope
    return recorder.frame(
        _as_sent(sent),
        global_inbox_seq=frame.global_inbox_seq,
        previous=frame.previous_global_inbox_seq,
        server_seq=sent.server_seq,
        received_ms=sent.server_received_at_ms,
        chain=frame.chain,
        raw=raw,
    )


class Known(NamedTuple):
    """An envelope that has come, and what its frames tell of it (`Recorder.written`)."""

    envelope: RecordedEnvelope
    conversation: int
    payload: int


class Frames:
    """The same as `frame_of`, where all connections are read by one process, for less.

    A message comes to several of them, soon one after another: what was hashed of it for one is
    not hashed again for the next, if it is the same.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._wall_began_ms = recorder.wall_began_ms
        self.known: dict[str, Known] = {}
        """By message id, of the last messages."""

    def frame(self, frame: InboxFrame, raw: bytes) -> Frame:
        """One, with the bytes it came in."""
        envelope = frame.envelope
        known = self.known.get(envelope.message_id)
        if known is None or known.envelope != envelope:
            known = self._know(envelope)
        return Frame(
            frame.global_inbox_seq,
            frame.previous_global_inbox_seq,
            known.conversation,
            envelope.server_seq,
            envelope.server_received_at_ms - self._wall_began_ms,
            known.payload,
            start_of(frame.chain),
            mark(raw),
        )

    def _know(self, envelope: RecordedEnvelope) -> Known:
        known = Known(envelope, *self._recorder.written(_as_sent(envelope)))
        if len(self.known) >= KNOWN:
            self.known.clear()
        self.known[envelope.message_id] = known
        return known


def _as_sent(envelope: RecordedEnvelope) -> Envelope:
    return Envelope(
        envelope.conversation_id,
        envelope.message_id,
        envelope.sender_user_id,
        envelope.recipient_user_id,
        envelope.content_type,
        envelope.client_created_at_ms,
        envelope.idempotency_key,
        _sha256(envelope.ciphertext),
    )


def note_connected(
    recorder: Recorder, event: Connected, opening_began_ns: int, subprotocol: str = SUBPROTOCOL
) -> int:
    """A connection, and its user where this is the first; the connection's number.

    What the inbox of a user holds when they first connect is not part of the history.
    """
    return recorder.connected(
        recorder.user(event.user_id, event.head_global_inbox_seq),
        device=event.device_id,
        subprotocol=subprotocol,
        epoch=event.epoch,
        head=event.head_global_inbox_seq,
        opening_began_ns=opening_began_ns,
    )


def note_ack(recorder: Recorder, attempt: int, ack: SendAck, raw: bytes) -> None:
    """An ack, with the bytes it came in."""
    recorder.ok(
        attempt,
        server_seq=ack.server_seq,
        received_ms=ack.server_received_at_ms,
        chain=ack.chain,
        raw=raw,
    )


def note_position(recorder: Recorder, connection: int, read: Read) -> None:
    """How far somebody has read, told without being asked for."""
    reader = recorder.user(read.reader_user_id)
    people = (read.reader_user_id, read.peer_user_id)
    conversation = recorder.conversation(read.conversation_id, *people, is_new=False)
    recorder.position(connection, conversation, reader, read.server_seq)


def note_refusal(recorder: Recorder, connection: int, attempt: int | None, error: Error) -> None:
    """An error event; one that is about an attempt ends it."""
    retry_after_ms = None if error.retry_after_ms is UNSET else error.retry_after_ms
    is_settled = error.code not in ("outcome_unknown", "internal")
    if attempt is not None and is_settled:
        recorder.fail(
            attempt,
            code=error.code,
            action=error.action,
            retry_after_ms=retry_after_ms,
            message=error.message,
        )
        return
    if attempt is not None:
        recorder.info(attempt, error.code)
    recorder.error(
        connection,
        code=error.code,
        action=error.action,
        retry_after_ms=retry_after_ms,
        message=error.message,
        about=None if error.about is UNSET else error.about.type,
    )


@lru_cache(maxsize=1_024)
def _sha256(ciphertext: bytes) -> bytes:
    """Remembered, since under load everybody sends the same again and again."""
    return sha256(ciphertext).digest()
