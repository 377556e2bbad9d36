"""A connection to a relay: calls that are answered, and events that arrive by themselves.

It reads while it writes and keeps little: what is to be written up to 1 MiB, what has arrived up
to `max_unread_bytes`. Past that the relay's socket is not read. So whoever has resumed must take
events, or answers wait behind them.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ssl import SSLContext
from typing import Final

import anyio
from msgspec import UNSET

from ksmp.client.line import open_line
from ksmp.client.session import Session, greeting
from ksmp.codec import CODECS
from ksmp.events import (
    AckRead,
    Auth,
    AuthOk,
    Envelope,
    Ping,
    Pong,
    Read,
    Resume,
    Send,
    SendAck,
    ServerEvent,
)
from ksmp.types import (
    PROTOCOL,
    ContentType,
    ConversationId,
    Epoch,
    GlobalInboxSeq,
    IdempotencyKey,
    MessageId,
    Nonce,
    ServerSeq,
    TimeMs,
    UserId,
)

CONNECT_SECONDS: Final = 10.0
CLOSE_SECONDS: Final = 2.0
MAX_FRAME_BYTES: Final = 4 * 1024 * 1024
MAX_UNREAD_BYTES: Final = 1024 * 1024


@asynccontextmanager
async def connect(
    url: str,
    token: str,
    *,
    subprotocol: str = "ksmpv3.msgpack",
    ssl_context: SSLContext | None = None,
    connect_seconds: float = CONNECT_SECONDS,
    max_frame_bytes: int = MAX_FRAME_BYTES,
    max_unread_bytes: int = MAX_UNREAD_BYTES,
) -> AsyncIterator[Connection]:
    """A connection whose `connected` is known, closed with 1000 when the block ends.

    `url` is ws:// or wss://; without a path it is /ksmp/v3. `token` is a JWT, `subprotocol` is
    ksmpv3.msgpack or ksmpv3.json. Works under Trio and asyncio. What is sent before the block
    ends is written before the close, for two seconds at most.

    Raises:
        HandshakeRefusedError: the relay refused the upgrade; its status and error say why.
        ConnectionLostError: the connection ended before the relay's first event.
        OSError: the relay cannot be reached, or TLS failed.
        TimeoutError: no first event within `connect_seconds`.
        ValueError: the URL or the subprotocol is not one of these.
    """
    codec = CODECS.get(subprotocol)
    if codec is None:
        raise ValueError("the subprotocol is ksmpv3.msgpack or ksmpv3.json")
    with anyio.fail_after(connect_seconds):
        line = await open_line(url, token, codec, ssl_context, max_frame_bytes)
        try:
            connected, following = await greeting(line, codec, connect_seconds)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await line.release()
            raise
    session = Session(line, codec, connected, max_unread_bytes)
    failure: Exception | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(session.run, following)
        try:
            yield Connection(session)
        except Exception as error:  # noqa: BLE001
            # Kept aside so that the caller gets what it raised and not a group around it.
            failure = error
        finally:
            with anyio.CancelScope(shield=True):
                await session.close(CLOSE_SECONDS)
    if failure is not None:
        raise failure


class Connection:
    """What `connect` opens. Any number of tasks may call; each call waits for its own answer.

    Every call raises `RefusedError` when the relay refuses it and `ConnectionLostError` when the
    connection ends first. A call that is cancelled has been sent, or will be, all the same.
    """

    def __init__(self, session: Session) -> None:
        self.connected: Final = session.connected
        """The relay's first event: who we are, the epoch, the inbox's head, the limits."""
        self._session = session
        self._nonces = itertools.count(1)

    def envelope(
        self,
        *,
        conversation_id: str,
        recipient_user_id: str,
        message_id: str,
        ciphertext: bytes,
        client_created_at_ms: int,
        content_type: ContentType = "text",
        idempotency_key: str | None = None,
    ) -> Envelope:
        """An envelope from this user; the idempotency key is the message's id unless given."""
        return Envelope(
            PROTOCOL,
            ConversationId(conversation_id),
            MessageId(message_id),
            self.connected.user_id,
            UserId(recipient_user_id),
            ciphertext,
            content_type,
            TimeMs(client_created_at_ms),
            IdempotencyKey(message_id if idempotency_key is None else idempotency_key),
        )

    async def send(self, envelope: Envelope) -> SendAck:
        """The ack: the record is committed and synced to disk.

        A retry repeats the same envelope, on this connection or another, and gets the same ack.

        Raises:
            RefusedError: not stored, unless `is_outcome_unknown`.
            ConnectionLostError: it may or may not be stored.
            ValueError: a field is not valid, or the event is larger than `limits.max_frame_bytes`.
        """
        answer = await self._session.call(Send(envelope))
        assert isinstance(answer, SendAck)
        return answer

    def events(self) -> AsyncIterator[ServerEvent]:
        """Everything that is not the answer to a call: inbox frames, reads, notices, in order.

        After a resume also `ResumeComplete`, once the replay is over. Each event is given once,
        to whoever takes it first.

        Raises:
            ConnectionLostError: the connection has ended, and all that had arrived was given.
        """
        return _Events(self._session)

    async def resume(self, cursor: int | None, epoch: str | None = None) -> None:
        """Have every record after `cursor` sent, and then those to come; None: from now on.

        Returns when the relay has begun. `events` then brings the records, and `ResumeComplete`.

        Raises:
            RefusedError: `cursor_ahead`, `epoch_changed` or `already_resumed`; nothing follows.
            ConnectionLostError: the connection ended first.
            ValueError: the cursor or the epoch is not valid.
        """
        last = None if cursor is None else GlobalInboxSeq(cursor)
        await self._session.call_alone(Resume(last, UNSET if epoch is None else Epoch(epoch)))

    async def ack_read(
        self, conversation_id: str, peer_user_id: str, server_seq: int, *, private: bool = False
    ) -> Read:
        """How far this user has now read: `server_seq`, or further if that was said before.

        Private: only the user's own devices learn of it. One call at a time for a conversation
        id; others wait for it.

        Raises:
            RefusedError: `invalid_seq` where there is no such record, or a reason to try again.
            ConnectionLostError: the connection ended first.
            ValueError: a field is not valid.
        """
        answer = await self._session.call_alone(
            AckRead(
                ConversationId(conversation_id),
                UserId(peer_user_id),
                ServerSeq(server_seq),
                True if private else UNSET,
            )
        )
        assert isinstance(answer, Read)
        return answer

    async def ping(self) -> Pong:
        """The relay's pong: all it had sent before has arrived, and its clock said so much."""
        answer = await self._session.call(Ping(Nonce(str(next(self._nonces)))))
        assert isinstance(answer, Pong)
        return answer

    async def refresh(self, token: str) -> AuthOk:
        """The connection lives until the fresh token's expiry. At most one in 10 seconds.

        Raises:
            RefusedError, ConnectionLostError: the token was not accepted, and the connection ends.
        """
        answer = await self._session.call_alone(Auth(token))
        assert isinstance(answer, AuthOk)
        return answer


class _Events(AsyncIterator[ServerEvent]):
    """Takes events as they are asked for. Not a generator: it may be dropped at any point."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def __anext__(self) -> ServerEvent:
        return await self._session.next_event()
