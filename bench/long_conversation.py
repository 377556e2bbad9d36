"""A store with a conversation of any length, made as fast as the storage's own writer can."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Final

from ksmp.chain import chain_base, chain_link, chain_payload
from ksmp.codec import encode_recorded
from ksmp.events import Envelope
from ksmp.types import (
    ConversationKey,
    Epoch,
    IdempotencyKey,
    MessageId,
    ServerSeq,
    TimeMs,
    UserId,
)
from storage.environment import Environment, open_environment
from storage.keys import payload_digest
from storage.log import Append, Appended, ConversationHead, NewRecord
from storage.transaction import Writer

RECORDS_PER_COMMIT: Final = 20_000
MAP_BYTES: Final = 1 << 34
BEGAN_MS: Final = 1_700_000_000_000


def envelope(key: ConversationKey, message: str, text: bytes) -> Envelope:
    """What the lower of the two users sends to the higher."""
    return Envelope(
        "ksmpv3",
        key.conversation_id,
        MessageId(message),
        UserId(key.low),
        UserId(key.high),
        text,
        "text",
        TimeMs(BEGAN_MS),
        IdempotencyKey(message),
    )


def open_store(path: Path) -> Environment:
    """A new store, with room for what comes."""
    return open_environment(
        path, new_epoch=lambda: Epoch("bench"), new_lock=nullcontext, map_size_bytes=MAP_BYTES
    )


def fill(
    environment: Environment,
    key: ConversationKey,
    records: int,
    free_bytes: Callable[[], int],
    *,
    text: bytes,
    progress: Callable[[int], None],
) -> None:
    """Commit so many records of one conversation; `progress` is told how many there are.

    Raises:
        RuntimeError: the store does not take them.
    """
    writer = Writer(environment, free_bytes)
    head = ConversationHead(ServerSeq(0), chain_base(*key))
    while head.server_seq < records:
        amount = min(RECORDS_PER_COMMIT, records - head.server_seq)
        append = following(key, head, amount, text)
        commit(writer, [append])
        head = ConversationHead(append.records[-1].server_seq, append.records[-1].chain)
        progress(head.server_seq)
    finish(writer)


def commit(writer: Writer, appends: Sequence[Append]) -> None:
    """Store them, and move as much into the tables as there is to be moved.

    Raises:
        RuntimeError: the store does not take them.
    """
    for outcome in writer.transact(appends):
        match outcome:
            case Appended():
                pass
            case _:
                raise RuntimeError(f"the store answers {type(outcome).__name__}")
    while writer.is_folding:
        if (failure := writer.fold()) is not None:
            raise RuntimeError(str(failure))


def finish(writer: Writer) -> None:
    """Leave all that was stored in the tables, as a relay does that is stopped.

    Raises:
        RuntimeError: the disk does not take it.
    """
    if (failure := writer.finish()) is not None:
        raise RuntimeError(str(failure))


def following(key: ConversationKey, head: ConversationHead, amount: int, text: bytes) -> Append:
    """So many more records of the conversation, numbered and chained on from its head."""
    server_seq, chain = head
    records = []
    for _ in range(amount):
        server_seq = ServerSeq(server_seq + 1)
        received_at = TimeMs(BEGAN_MS + server_seq)
        sent = envelope(key, f"message-{server_seq:012}", text)
        payload = chain_payload(sent)
        chain = chain_link(chain, server_seq, received_at, payload)
        records.append(
            NewRecord(
                server_seq,
                received_at,
                sent.sender_user_id,
                sent.idempotency_key,
                payload_digest(payload),
                chain,
                encode_recorded(sent, server_seq, received_at),
            )
        )
    return Append(key, head.server_seq, records)
