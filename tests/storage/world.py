"""What storage tests are made of: records with true chains, stores in directories, executors."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

import trio

from ksmp.chain import chain_base, chain_link, chain_payload
from ksmp.codec import encode_recorded
from ksmp.events import Envelope
from ksmp.types import (
    ConversationId,
    ConversationKey,
    Epoch,
    IdempotencyKey,
    MessageId,
    ServerSeq,
    TimeMs,
    UserId,
    conversation_key,
)
from storage.environment import Environment, open_environment
from storage.journal import SEGMENT_BYTES
from storage.keys import payload_digest
from storage.log import Append, ConversationHead, MarkRead, NewRecord
from storage.transaction import Writer

T = TypeVar("T")

PLENTY = 1 << 40
EPOCH = Epoch("epoch-of-the-tests")


def conversation(one: str, other: str, name: str = "c") -> ConversationKey:
    return conversation_key(ConversationId(name), UserId(one), UserId(other))


def base(key: ConversationKey) -> ConversationHead:
    return ConversationHead(ServerSeq(0), chain_base(*key))


class Sent(NamedTuple):
    """What someone sends: `key` is the idempotency key, and names the message too."""

    sender: str
    key: str
    text: bytes = b"sealed"


def append(key: ConversationKey, head: ConversationHead, sends: Sequence[Sent]) -> Append:
    """The append of a writer that believes in `head`."""
    records = []
    seq, chain = head
    for sent in sends:
        seq = ServerSeq(seq + 1)
        at = TimeMs(1_700_000_000_000 + seq)
        envelope = _envelope(key, sent)
        payload = chain_payload(envelope)
        chain = chain_link(chain, seq, at, payload)
        records.append(
            NewRecord(
                server_seq=seq,
                server_received_at_ms=at,
                sender=envelope.sender_user_id,
                idempotency_key=envelope.idempotency_key,
                payload_digest=payload_digest(payload),
                chain=chain,
                recorded=encode_recorded(envelope, seq, at),
            )
        )
    return Append(key, head.server_seq, records)


def _envelope(key: ConversationKey, sent: Sent) -> Envelope:
    recipient = key.high if sent.sender == key.low else key.low
    return Envelope(
        "ksmpv3",
        key.conversation_id,
        MessageId("m-" + sent.key),
        UserId(sent.sender),
        recipient,
        sent.text,
        "text",
        TimeMs(7),
        IdempotencyKey(sent.key),
    )


def head_after(batch: Append) -> ConversationHead:
    return ConversationHead(batch.records[-1].server_seq, batch.records[-1].chain)


def mark(
    key: ConversationKey, reader: str, seq: int, *, private: bool = False, at: int = 5
) -> MarkRead:
    return MarkRead(key, UserId(reader), ServerSeq(seq), private, TimeMs(at))


# ── stores ───────────────────────────────────────────────────────────────────────────────────


@contextmanager
def opened(
    path: Path, map_size_bytes: int = 1 << 20, segment_bytes: int = SEGMENT_BYTES
) -> Iterator[Environment]:
    environment = open_environment(
        path,
        new_epoch=lambda: EPOCH,
        new_lock=threading.Lock,
        map_size_bytes=map_size_bytes,
        segment_bytes=segment_bytes,
    )
    try:
        yield environment
    finally:
        environment.close()


def writer(environment: Environment) -> Writer:
    return Writer(environment, free_bytes=lambda: PLENTY)


def fold(environment: Environment) -> None:
    """Everything is in the tables, as after a clean stop, so that it can be looked at there."""
    assert writer(environment).finish() is None


# ── executors ────────────────────────────────────────────────────────────────────────────────


class InlineExecutor:
    """Runs each job where it is submitted."""

    def submit(self, job: Callable[[], T], deliver: Callable[[T], None]) -> None:
        deliver(job())


class SteppedExecutor:
    """Runs a job, and delivers a result, when it is told to."""

    def __init__(self) -> None:
        self.jobs: list[Callable[[], Callable[[], None]]] = []
        self.results: list[Callable[[], None]] = []

    def submit(self, job: Callable[[], T], deliver: Callable[[T], None]) -> None:
        def run() -> Callable[[], None]:
            result = job()
            return lambda: deliver(result)

        self.jobs.append(run)

    def run(self) -> None:
        self.results.append(self.jobs.pop(0)())

    def deliver(self) -> None:
        self.results.pop(0)()

    def finish(self) -> None:
        while self.jobs or self.results:
            if self.jobs:
                self.run()
            if self.results:
                self.deliver()


class ThreadExecutor:
    """A real thread; results come back through Trio's own door. Made inside `trio.run`."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._token = trio.lowlevel.current_trio_token()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def submit(self, job: Callable[[], T], deliver: Callable[[T], None]) -> None:
        def run() -> None:
            result = job()
            self._token.run_sync_soon(deliver, result)

        self._jobs.put(run)

    def close(self) -> None:
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
