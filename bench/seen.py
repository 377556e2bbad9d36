"""What a generator's client has seen, as a history records it."""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from typing import Final

from msgspec import UNSET

from bench.checker.digests import Envelope
from bench.checker.records import Frame
from bench.history import Recorder
from ksmp.events import Connected, Error, InboxFrame, SendAck

SUBPROTOCOL: Final = "ksmpv3.msgpack"


def frame_of(recorder: Recorder, frame: InboxFrame, raw: bytes) -> Frame:
    """An inbox frame, with the bytes it came in."""
    sent = frame.envelope
    envelope = Envelope(
        sent.conversation_id,
        sent.message_id,
        sent.sender_user_id,
        sent.recipient_user_id,
        sent.content_type,
        sent.client_created_at_ms,
        sent.idempotency_key,
        _sha256(sent.ciphertext),
    )
    return recorder.frame(
        envelope,
        global_inbox_seq=frame.global_inbox_seq,
        previous=frame.previous_global_inbox_seq,
        server_seq=sent.server_seq,
        received_ms=sent.server_received_at_ms,
        chain=frame.chain,
        raw=raw,
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
