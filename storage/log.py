"""The seam between the actors and whatever keeps their records: operations, outcomes, reads.

Operations change the store. They are queued with `Log.submit` and settled in the order in which
they were submitted, many of them by one synced transaction:

    Append        → Appended | SequenceConflict | KnownKeys | OverQuota | Full
    ReadHead      → ConversationHead
    OpenInbox     → InboxHead
    MarkRead      → ReadMarked | NoSuchRecord | Full
                    … or Failed, for any of them, after which the process must end,
                    or Lost, for what was stored, in a laboratory

Reads (`Log.page`, `Log.read_states`) see what is committed, which may be more than what has been
settled: a caller reads no further than the head that settled outcomes have told it.

Nothing above this seam may assume that inbox numbers are dense, that a read is free, or that
this process is the only writer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from msgspec import Struct

from ksmp.types import (
    ConversationKey,
    Epoch,
    GlobalInboxSeq,
    IdempotencyKey,
    ServerSeq,
    TimeMs,
    UserId,
)


class ConversationHead(NamedTuple):
    """A conversation's last record. Before the first: 0 and the chain's base."""

    server_seq: ServerSeq
    chain: bytes


class InboxHead(NamedTuple):
    """An inbox's last number, and the number through which retention has emptied it."""

    global_inbox_seq: GlobalInboxSeq
    truncated_through: GlobalInboxSeq


class InboxPlace(NamedTuple):
    """Where a record stands in one inbox, and the number before it there (0 before the first)."""

    global_inbox_seq: GlobalInboxSeq
    previous_global_inbox_seq: GlobalInboxSeq


# ── operations and their outcomes ────────────────────────────────────────────────────────────


class NewRecord(Struct, frozen=True, gc=False):
    """One record to append. `recorded` is `ksmp.codec.encode_recorded` of its envelope.

    `payload_digest` is 32 bytes that are equal for equal payloads: what tells a retry from a
    conflict when the same sender uses the same idempotency key again.
    """

    server_seq: ServerSeq
    server_received_at_ms: TimeMs
    sender: UserId
    idempotency_key: IdempotencyKey
    payload_digest: bytes
    chain: bytes
    recorded: bytes


@dataclass(frozen=True, slots=True)
class Append:
    """All of `records`, or none: numbers, keys, inbox rows of both participants, heads.

    `last_seq` is the head its writer believes in; the records are numbered from there on, and
    their idempotency keys differ from each other.
    """

    conversation: ConversationKey
    last_seq: ServerSeq
    records: Sequence[NewRecord]


@dataclass(frozen=True, slots=True)
class Appended:
    """Committed and synced. For each participant, one place per record, in the records' order."""

    places: Mapping[UserId, Sequence[InboxPlace]]


@dataclass(frozen=True, slots=True)
class SequenceConflict:
    """Nothing was stored: the head is not where the writer believed it to be."""

    head: ConversationHead


class KnownKey(NamedTuple):
    """What is remembered of the send that first used an idempotency key."""

    server_seq: ServerSeq
    server_received_at_ms: TimeMs
    chain: bytes
    payload_digest: bytes


@dataclass(frozen=True, slots=True)
class KnownKeys:
    """Nothing was stored: these records of the append (by index) use keys already known."""

    known: Mapping[int, KnownKey]


@dataclass(frozen=True, slots=True)
class OverQuota:
    """Nothing was stored: these records of the append (by index) are too much for someone.

    Without them, and as long as nobody else uses up what is left, the others are not.
    """

    refused: frozenset[int]


@dataclass(frozen=True, slots=True)
class Full:
    """Nothing was stored: there is no space. Later, the same may succeed."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The commit failed in a way that leaves unknown what is on disk. The process must end."""

    error: Exception


@dataclass(frozen=True, slots=True)
class Lost:
    """It is stored, and nobody is told what was: an operator of a laboratory has ordered that.

    What a crash between a commit and its outcome leaves behind, without the crash.
    """


@dataclass(frozen=True, slots=True)
class ReadHead:
    """The conversation's head, after everything submitted before."""

    conversation: ConversationKey


@dataclass(frozen=True, slots=True)
class OpenInbox:
    """The inbox's head, after everything submitted before."""

    user: UserId


@dataclass(frozen=True, slots=True)
class MarkRead:
    """`reader` has read up to `server_seq`; privately, or so that the peer sees it."""

    conversation: ConversationKey
    reader: UserId
    server_seq: ServerSeq
    private: bool
    read_at_ms: TimeMs


class ReadPosition(NamedTuple):
    """How far someone has read, and when that maximum was set; 0 and 0 before the first."""

    server_seq: ServerSeq
    read_at_ms: TimeMs


@dataclass(frozen=True, slots=True)
class ReadMarked:
    """Committed and synced (if anything rose). The reader sees `own`, the peer `public`.

    `own` is the maximum of all marks, `public` of those that were not private.
    """

    own: ReadPosition
    public: ReadPosition
    own_rose: bool
    public_rose: bool


@dataclass(frozen=True, slots=True)
class NoSuchRecord:
    """Nothing was stored: the conversation has no record of that number, or does not exist."""


Operation = Append | ReadHead | OpenInbox | MarkRead
Outcome = (
    Appended
    | SequenceConflict
    | KnownKeys
    | OverQuota
    | Full
    | ConversationHead
    | InboxHead
    | ReadMarked
    | NoSuchRecord
    | Failed
    | Lost
)
Settle = Callable[[Outcome], None]


# ── reads ────────────────────────────────────────────────────────────────────────────────────


class InboxRow(NamedTuple):
    """One record of an inbox, ready for `ksmp.codec.Codec.encode_inbox_frame`."""

    global_inbox_seq: GlobalInboxSeq
    previous_global_inbox_seq: GlobalInboxSeq
    recorded: bytes
    chain: bytes


class Page(NamedTuple):
    """Records in order. A cursor below `truncated_through` has lost some: say so first."""

    rows: Sequence[InboxRow]
    truncated_through: GlobalInboxSeq


class ReadState(NamedTuple):
    """How far `reader` has read a conversation, as the inbox's owner may see it."""

    conversation: ConversationKey
    reader: UserId
    position: ReadPosition


class ReadStatePage(NamedTuple):
    """Read states in the order in which they were stored; `next` continues, None ends."""

    states: Sequence[ReadState]
    next: bytes | None


class Log(Protocol):
    """Where records live. All methods are called from the event loop's thread."""

    @property
    def epoch(self) -> Epoch:
        """The identity of this store's unbroken history (protocol section 1)."""

    def submit(self, operation: Operation, settle: Settle) -> None:
        """Queue `operation`; `settle` gets its outcome, once, on the event loop.

        Outcomes arrive in the order of submission, all of a transaction's in one go without a
        checkpoint between them, and whether or not whoever asked still lives.
        """

    async def gather(self) -> None:
        """Wait while a slow transaction keeps what is submitted now from being stored.

        So whoever has a choice submits all that has come meanwhile in one. Returns without a
        checkpoint where there is nothing to wait for.
        """

    async def page(
        self,
        user: UserId,
        after: GlobalInboxSeq,
        through: GlobalInboxSeq,
        max_bytes: int,
    ) -> Page:
        """The inbox's records with `after` < number ≤ `through`, about `max_bytes` of them.

        Empty only when there is none; the first record comes whatever its size.

        Raises:
            StorageError: the store cannot be read. The process must end.
        """

    async def read_states(
        self, user: UserId, stored_from: GlobalInboxSeq, after: bytes | None, limit: int
    ) -> ReadStatePage:
        """Read states of the user's conversations set when the inbox's head was ≥ `stored_from`.

        Raises:
            StorageError: the store cannot be read. The process must end.
        """
