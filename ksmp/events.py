"""Every event of KSMP v3, as an immutable value: what clients send and what the relay sends.

Field order is the canonical order on the wire, so equal events are equal bytes
(`ksmp.codec`). Names are the wire's, in snake case: `server_seq` here is `serverSeq` there.
A field that may be absent defaults to `UNSET` and is then not written.
"""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from ksmp.types import (
    ConnectionId,
    ContentType,
    ConversationId,
    DeviceId,
    Epoch,
    GlobalInboxSeq,
    IdempotencyKey,
    MessageId,
    Nonce,
    ServerSeq,
    TimeMs,
    UserId,
    WireCiphertext,
    WireConversationId,
    WireEpoch,
    WireGlobalInboxSeq,
    WireIdempotencyKey,
    WireMessageId,
    WireNonce,
    WireServerSeq,
    WireTimeMs,
    WireUserId,
)

# ── what clients send ────────────────────────────────────────────────────────────────────────


class Envelope(Struct, frozen=True, gc=False, rename="camel", forbid_unknown_fields=True):
    """What one person sends to another: nine fields, the text inside sealed (charter section 3)."""

    protocol: Literal["ksmpv3"]
    conversation_id: WireConversationId
    message_id: WireMessageId
    sender_user_id: WireUserId
    recipient_user_id: WireUserId
    ciphertext: WireCiphertext
    content_type: ContentType
    client_created_at_ms: WireTimeMs
    idempotency_key: WireIdempotencyKey


class Send(
    Struct, frozen=True, gc=False, forbid_unknown_fields=True, tag="ksmpv3.send", tag_field="type"
):
    """Store this envelope, once, and deliver it. Answered by `SendAck` or `Error`."""

    envelope: Envelope


class AckRead(
    Struct,
    frozen=True,
    gc=False,
    rename="camel",
    forbid_unknown_fields=True,
    tag="ksmpv3.ack.read",
    tag_field="type",
):
    """The user has read the conversation up to `server_seq`. Answered by `Read` or `Error`."""

    conversation_id: WireConversationId
    peer_user_id: WireUserId
    server_seq: WireServerSeq
    private: bool | UnsetType = UNSET


class Resume(
    Struct,
    frozen=True,
    gc=False,
    rename="camel",
    forbid_unknown_fields=True,
    tag="ksmpv3.resume",
    tag_field="type",
):
    """Send every record after the cursor, then go on live; `None` means from now on."""

    last_global_inbox_seq: WireGlobalInboxSeq | None
    epoch: WireEpoch | UnsetType = UNSET


class Ping(
    Struct, frozen=True, gc=False, forbid_unknown_fields=True, tag="ksmpv3.ping", tag_field="type"
):
    """Answered by `Pong`, whatever else is going on."""

    nonce: WireNonce | UnsetType = UNSET


class Auth(
    Struct, frozen=True, gc=False, forbid_unknown_fields=True, tag="ksmpv3.auth", tag_field="type"
):
    """A fresh token for this connection. Answered by `AuthOk`, or by `Error` and close 4401."""

    token: str


ClientEvent = Send | AckRead | Resume | Ping | Auth
CLIENT_EVENT_TYPES = (
    "ksmpv3.send",
    "ksmpv3.ack.read",
    "ksmpv3.resume",
    "ksmpv3.ping",
    "ksmpv3.auth",
)


# ── what the relay sends ─────────────────────────────────────────────────────────────────────


class RecordedEnvelope(Struct, frozen=True, gc=False, rename="camel"):
    """An envelope as stored and delivered: the nine fields, its number, and when it got it."""

    protocol: Literal["ksmpv3"]
    conversation_id: ConversationId
    message_id: MessageId
    sender_user_id: UserId
    recipient_user_id: UserId
    ciphertext: bytes
    content_type: ContentType
    client_created_at_ms: TimeMs
    server_seq: ServerSeq
    server_received_at_ms: TimeMs
    idempotency_key: IdempotencyKey


class Limits(Struct, frozen=True, gc=False, rename="camel"):
    """What a client needs to know to behave; `idempotency_window_ms` None means for ever."""

    max_ciphertext_bytes: int
    max_frame_bytes: int
    max_unacked_sends: int
    sends_per_second: int
    sends_burst: int
    idempotency_window_ms: int | None


class Connected(Struct, frozen=True, rename="camel", tag="ksmpv3.connected", tag_field="type"):
    """Always the first event of a connection."""

    protocol: str
    user_id: UserId
    device_id: DeviceId
    connection_id: ConnectionId
    server_time_ms: TimeMs
    epoch: Epoch
    head_global_inbox_seq: GlobalInboxSeq
    truncated_through: GlobalInboxSeq
    keepalive_ms: int
    token_expires_at_ms: TimeMs
    extensions: tuple[str, ...]
    limits: Limits


class InboxFrame(
    Struct, frozen=True, gc=False, rename="camel", tag="ksmpv3.inbox.frame", tag_field="type"
):
    """One record of the user's inbox, with the number of the record before it in that inbox."""

    global_inbox_seq: GlobalInboxSeq
    previous_global_inbox_seq: GlobalInboxSeq
    envelope: RecordedEnvelope
    chain: bytes


class SendAck(
    Struct, frozen=True, gc=False, rename="camel", tag="ksmpv3.send.ack", tag_field="type"
):
    """The record is committed and synced to disk; equal bytes for every retry of its key."""

    conversation_id: ConversationId
    recipient_user_id: UserId
    message_id: MessageId
    idempotency_key: IdempotencyKey
    server_seq: ServerSeq
    server_received_at_ms: TimeMs
    chain: bytes


class ResumeComplete(
    Struct, frozen=True, gc=False, rename="camel", tag="ksmpv3.resume.complete", tag_field="type"
):
    """Everything up to the head as it was when the resume arrived has been sent."""

    global_inbox_seq: GlobalInboxSeq


class Read(Struct, frozen=True, gc=False, rename="camel", tag="ksmpv3.read", tag_field="type"):
    """How far `reader_user_id` has read. State, not history: it may repeat, the maximum wins."""

    conversation_id: ConversationId
    reader_user_id: UserId
    peer_user_id: UserId
    server_seq: ServerSeq
    read_at_ms: TimeMs


class Pong(Struct, frozen=True, gc=False, rename="camel", tag="ksmpv3.pong", tag_field="type"):
    """The answer to `Ping`, its nonce returned."""

    nonce: Nonce | UnsetType = UNSET
    server_time_ms: TimeMs = TimeMs(0)


class AuthOk(Struct, frozen=True, gc=False, rename="camel", tag="ksmpv3.auth.ok", tag_field="type"):
    """The connection now lives until the fresh token's expiry."""

    token_expires_at_ms: TimeMs


class About(Struct, frozen=True, gc=False, rename="camel"):
    """Which client event an error answers: its type and those of its ids that are valid."""

    type: str
    conversation_id: ConversationId | UnsetType = UNSET
    recipient_user_id: UserId | UnsetType = UNSET
    message_id: MessageId | UnsetType = UNSET
    idempotency_key: IdempotencyKey | UnsetType = UNSET


class Error(Struct, frozen=True, gc=False, rename="camel", tag="ksmpv3.error", tag_field="type"):
    """A refusal or a notice, with retry hints. Build it with `ksmp.errors.error`."""

    code: str
    message: str
    retryable: bool
    retry_after_ms: int | UnsetType = UNSET
    action: str = ""
    about: About | UnsetType = UNSET
    epoch: Epoch | UnsetType = UNSET
    head_global_inbox_seq: GlobalInboxSeq | UnsetType = UNSET
    truncated_through: GlobalInboxSeq | UnsetType = UNSET


ServerEvent = Connected | InboxFrame | SendAck | ResumeComplete | Read | Pong | AuthOk | Error
