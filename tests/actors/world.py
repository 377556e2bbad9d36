"""A small world for actors: a log in memory, a transport that remembers, someone to write to.

The log is the dumb model of `storage.log`: dicts, no disk. Each transaction settles after a
checkpoint, so that other tasks run in between as they do in life.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

import trio

from actors.letters import Letter, ReadLetter, SendLetter
from actors.telemetry import Field
from actors.transport import PeerGoneError
from ksmp.chain import chain_base
from ksmp.codec import MSGPACK, decode_recorded
from ksmp.events import AckRead, Envelope, RecordedEnvelope, ServerEvent
from ksmp.types import (
    ConversationId,
    ConversationKey,
    Epoch,
    GlobalInboxSeq,
    IdempotencyKey,
    MessageId,
    ServerSeq,
    TimeMs,
    UserId,
)
from storage.log import (
    Append,
    Appended,
    ConversationHead,
    Failed,
    Full,
    InboxHead,
    InboxPlace,
    InboxRow,
    KnownKey,
    KnownKeys,
    MarkRead,
    NewRecord,
    NoSuchRecord,
    OpenInbox,
    Operation,
    Outcome,
    Page,
    ReadHead,
    ReadMarked,
    ReadPosition,
    ReadState,
    ReadStatePage,
    SequenceConflict,
    Settle,
)

ALICE = UserId("alice")
BOB = UserId("bob")


class SilentTelemetry:
    """Says nothing, and remembers the names of what it was told."""

    def __init__(self) -> None:
        self.is_debug = True
        self.events: list[tuple[str, dict[str, Field]]] = []

    def debug(self, event: str, **fields: Field) -> None:
        self.events.append((event, fields))

    info = warning = error = debug

    def count(self, event: str) -> int:
        return sum(1 for name, _ in self.events if name == event)


class _Mark(NamedTuple):
    own: ReadPosition
    public: ReadPosition
    own_stored: int
    public_stored: int


class MemoryLog:
    """`storage.log.Log` over dicts. `run` must be running for operations to settle."""

    def __init__(self, after_commit: Callable[[], None] = lambda: None) -> None:
        self.epoch = Epoch("epoch-1")
        self.after_commit = after_commit
        self.records: dict[ConversationKey, list[NewRecord]] = {}
        self.inboxes: dict[UserId, list[tuple[ConversationKey, int]]] = {}
        self.marks: dict[tuple[ConversationKey, UserId], _Mark] = {}
        self.is_full = False
        self.failure: Exception | None = None
        self.pages_read = 0
        self.is_held = False  # while set, nothing settles
        self._waiting: deque[tuple[Operation, Settle]] = deque()
        self._wake = trio.Event()

    def submit(self, operation: Operation, settle: Settle) -> None:
        self._waiting.append((operation, settle))
        self._wake.set()

    def release(self) -> None:
        self.is_held = False
        self._wake.set()

    async def run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            if self.is_held:
                continue
            batch, self._waiting = self._waiting, deque()
            outcomes = [self._do(operation) for operation, _ in batch]
            await trio.lowlevel.checkpoint()
            for (_, settle), outcome in zip(batch, outcomes, strict=True):
                settle(outcome)
            self.after_commit()

    def _do(self, operation: Operation) -> Outcome:
        if self.failure is not None:
            return Failed(self.failure)
        match operation:
            case Append():
                return self._append(operation)
            case ReadHead(key):
                return self.head(key)
            case OpenInbox(user):
                return InboxHead(GlobalInboxSeq(len(self.inboxes.get(user, []))), GlobalInboxSeq(0))
            case MarkRead():
                return self._mark(operation)

    def head(self, key: ConversationKey) -> ConversationHead:
        records = self.records.get(key)
        if not records:
            return ConversationHead(ServerSeq(0), chain_base(*key))
        return ConversationHead(records[-1].server_seq, records[-1].chain)

    def _append(self, append: Append) -> Outcome:
        head = self.head(append.conversation)
        if head.server_seq != append.last_seq:
            return SequenceConflict(head)
        stored = self.records.get(append.conversation, [])
        by_key = {(record.sender, record.idempotency_key): record for record in stored}
        known = {
            index: KnownKey(old.server_seq, old.server_received_at_ms, old.chain, old.payload_digest)
            for index, record in enumerate(append.records)
            if (old := by_key.get((record.sender, record.idempotency_key))) is not None
        }
        if known:
            return KnownKeys(known)
        if self.is_full:
            return Full()
        _, low, high = append.conversation
        places: dict[UserId, list[InboxPlace]] = {low: [], high: []}
        self.records.setdefault(append.conversation, []).extend(append.records)
        for record in append.records:
            for user in places:
                inbox = self.inboxes.setdefault(user, [])
                inbox.append((append.conversation, record.server_seq))
                number = len(inbox)
                places[user].append(InboxPlace(GlobalInboxSeq(number), GlobalInboxSeq(number - 1)))
        return Appended(places)

    def _mark(self, operation: MarkRead) -> Outcome:
        records = self.records.get(operation.conversation)
        if not records or operation.server_seq > len(records):
            return NoSuchRecord()
        key = (operation.conversation, operation.reader)
        nothing = ReadPosition(ServerSeq(0), TimeMs(0))
        mark = self.marks.get(key, _Mark(nothing, nothing, 0, 0))
        position = ReadPosition(operation.server_seq, operation.read_at_ms)
        _, low, high = operation.conversation
        peer = high if operation.reader == low else low
        own_rose = position.server_seq > mark.own.server_seq
        public_rose = not operation.private and position.server_seq > mark.public.server_seq
        self.marks[key] = mark = _Mark(
            position if own_rose else mark.own,
            position if public_rose else mark.public,
            len(self.inboxes[operation.reader]) if own_rose else mark.own_stored,
            len(self.inboxes[peer]) if public_rose else mark.public_stored,
        )
        return ReadMarked(mark.own, mark.public, own_rose, public_rose)

    async def page(
        self, user: UserId, after: GlobalInboxSeq, through: GlobalInboxSeq, max_bytes: int
    ) -> Page:
        await trio.lowlevel.checkpoint()
        self.pages_read += 1
        rows: list[InboxRow] = []
        size = 0
        for number in range(after + 1, through + 1):
            if size >= max_bytes:
                break
            key, seq = self.inboxes[user][number - 1]
            record = self.records[key][seq - 1]
            size += len(record.recorded)
            place = InboxPlace(GlobalInboxSeq(number), GlobalInboxSeq(number - 1))
            rows.append(InboxRow(*place, record.recorded, record.chain))
        return Page(rows, GlobalInboxSeq(0))

    async def read_states(
        self, user: UserId, stored_from: GlobalInboxSeq, after: bytes | None, limit: int
    ) -> ReadStatePage:
        await trio.lowlevel.checkpoint()
        states = []
        for (key, reader), mark in self.marks.items():
            is_own = reader == user
            position = mark.own if is_own else mark.public
            stored = mark.own_stored if is_own else mark.public_stored
            if user in key[1:] and position.server_seq and stored >= stored_from:
                states.append(ReadState(key, reader, position))
        return ReadStatePage(states, None)

    def envelopes(self, key: ConversationKey) -> list[RecordedEnvelope]:
        return [decode_recorded(record.recorded) for record in self.records.get(key, [])]


class FakeTransport:
    """Remembers what was sent. What is queued goes out while `is_writable`."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.queued: list[bytes] = []
        self.is_writable = True
        self.close_code: int | None = None
        self.last_heard = trio.current_time()
        self.pings = 0
        self.controls_left = 10**9
        self._writable = trio.Event()
        self._incoming: deque[Sequence[bytes]] = deque()
        self._arrived = trio.Event()
        self._is_gone = False

    # what the test does

    def arrive(self, *messages: bytes) -> None:
        self._incoming.append(messages)
        self.last_heard = trio.current_time()
        self._arrived.set()

    def hang_up(self) -> None:
        self._is_gone = True
        self._arrived.set()

    def stall(self) -> None:
        self.is_writable = False
        self._writable = trio.Event()

    def go_on(self) -> None:
        self.is_writable = True
        self._writable.set()

    def events(self) -> list[ServerEvent]:
        events = [MSGPACK.decode_server_event(message) for message in self.sent]
        return [event for event in events if event is not None]

    # what the actor sees

    @property
    def queued_bytes(self) -> int:
        return sum(map(len, self.queued))

    async def receive(self) -> Sequence[bytes]:
        while not self._incoming:
            if self._is_gone or self.close_code is not None:
                await trio.lowlevel.checkpoint()
                raise PeerGoneError
            self._arrived = trio.Event()
            await self._arrived.wait()
        await trio.lowlevel.checkpoint()
        return self._incoming.popleft()

    def send(self, message: bytes) -> None:
        if self.close_code is None:
            self.queued.append(message)

    def ping(self) -> None:
        self.pings += 1

    def note_control(self) -> bool:
        self.controls_left -= 1
        if self.controls_left < 0:
            self.close(4429)
        return self.controls_left >= 0

    def flush(self) -> bool:
        if self.is_writable:
            self.sent += self.queued
            self.queued = []
        return not self.queued

    async def drain(self) -> None:
        await trio.lowlevel.checkpoint()
        while not self.flush():
            await self._writable.wait()

    def close(self, code: int) -> None:
        if self.close_code is None:
            self.close_code = code

    def abort(self) -> None:
        self.hang_up()

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()
        self.flush()


class Client:
    """Whoever waits for answers: keeps what came for each letter."""

    def __init__(self) -> None:
        self.answers: list[tuple[Letter, ServerEvent]] = []

    def settle(self, letter: Letter, answer: ServerEvent) -> None:
        self.answers.append((letter, answer))

    def deliver(self) -> None:
        """Everything has arrived already."""

    def to(self, letter: Letter) -> list[ServerEvent]:
        return [answer for asked, answer in self.answers if asked is letter]


def envelope(
    key: str = "key-1",
    *,
    sender: UserId = ALICE,
    recipient: UserId = BOB,
    text: bytes = b"sealed",
    conversation: str = "talk",
) -> Envelope:
    return Envelope(
        "ksmpv3",
        ConversationId(conversation),
        MessageId(f"message-{key}"),
        sender,
        recipient,
        text,
        "text",
        TimeMs(1),
        IdempotencyKey(key),
    )


def send_letter(client: Client, key: str = "key-1", *, text: bytes = b"sealed") -> SendLetter:
    return SendLetter(envelope(key, text=text), client, 100 + len(text))


def read_letter(client: Client, server_seq: int) -> ReadLetter:
    ack = AckRead(ConversationId("talk"), BOB, ServerSeq(server_seq))
    return ReadLetter(ack, ALICE, client, 60)
