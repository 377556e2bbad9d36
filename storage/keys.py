"""The bytes of every key and value in the store: one section per table, big-endian throughout.

    table                key                                       value
    meta                 name                                      see `storage.environment`
    users                userId                                    user
    user_names           user                                      userId
    conversations        conversationId 00 low 00 high             conversation low high
    conversation_names   conversation                              conversationId 00 low 00 high
    heads                conversation                              serverSeq chain
    inboxes              user                                      an inbox's state: four numbers
    log                  conversation serverSeq                    version chain recorded
    inbox                user globalInboxSeq                       conversation serverSeq
    keys                 conversation side key                     serverSeq receivedAt chain digest
    reads                conversation side                         two marks: of all, public; check
    read_index           user storedAt conversation side           nothing

`user` and `conversation` are numbers, given on a name's first append, 1, 2, 3 … and never again.
`side` says which participant: 0 the lower of the two userIds, 1 the higher; always 0 in a
conversation with oneself. A zero byte ends an identifier since none contains one. Big-endian
numbers sort as numbers, so that every question the relay asks is one range of one table.
"""

from __future__ import annotations

from hashlib import blake2b, sha256
from struct import Struct
from typing import Final, NamedTuple

from ksmp.chain import CHAIN_BYTES
from ksmp.types import ConversationId, ConversationKey, ServerSeq, TimeMs, UserId
from storage.log import ReadPosition

FORMAT_VERSION: Final = 3
"""Of the whole store: tables, keys and values."""

RECORD_VERSION: Final = 1
"""Of one value in `log`."""

TABLES: Final = (
    b"meta",
    b"users",
    b"user_names",
    b"conversations",
    b"conversation_names",
    b"heads",
    b"inboxes",
    b"log",
    b"inbox",
    b"keys",
    b"reads",
    b"read_index",
)

_number = Struct("!Q")
_pair = Struct("!QQ")
_three = Struct("!QQQ")
_four = Struct("!QQQQ")
_head = Struct(f"!Q{CHAIN_BYTES}s")
_sided = Struct("!QB")
_key_row = Struct(f"!QQ{CHAIN_BYTES}s32s")
_marks = Struct("!QQQQQQ")
_CHECK_BYTES: Final = 12
_index = Struct("!QQQB")

pack_number = _number.pack  # user_names, conversation_names, heads, inboxes: keys; users: values
pack_pair = _pair.pack  # log and inbox: keys; inbox: values
pack_conversation = _three.pack  # conversations: values
pack_head = _head.pack  # heads: values
pack_inbox_state = _four.pack  # inboxes: values
pack_side = _sided.pack  # reads: keys; the beginning of a key in `keys`
pack_key_row = _key_row.pack  # keys: values


def unpack_number(row: bytes) -> int:
    """A user or a conversation."""
    (number,) = _number.unpack(row)
    return int(number)


def unpack_pair(row: bytes) -> tuple[int, int]:
    """(conversation or user, its sequence number)."""
    first, second = _pair.unpack(row)
    return first, second


def unpack_side(row: bytes) -> tuple[int, int]:
    """(conversation, side): a key of `reads`.

    Raises:
        ValueError: there is no such side.
    """
    number, side = _sided.unpack(row)
    if side > 1:
        raise ValueError("not a side")
    return number, side


# ── names ────────────────────────────────────────────────────────────────────────────────────


class ConversationNumbers(NamedTuple):
    """What a conversation and its two participants are called inside the store."""

    conversation: int
    low: int
    high: int

    @property
    def participants(self) -> tuple[int, ...]:
        """Whose inboxes hold its records: two, or one in a conversation with oneself."""
        return (self.low,) if self.low == self.high else (self.low, self.high)


def conversation_name(key: ConversationKey) -> bytes:
    """At most 386 bytes, within the 511 that the engine allows for a key."""
    return b"\0".join((key.conversation_id.encode(), key.low.encode(), key.high.encode()))


def parse_conversation_name(name: bytes) -> ConversationKey:
    """The inverse of `conversation_name`.

    Raises:
        ValueError: these bytes are no such name.
    """
    conversation_id, low, high = name.decode("ascii").split("\0")
    return ConversationKey(ConversationId(conversation_id), UserId(low), UserId(high))


def unpack_conversation(row: bytes) -> ConversationNumbers:
    """A value of `conversations`."""
    return ConversationNumbers(*_three.unpack(row))


def side_of(key: ConversationKey, user: UserId) -> int:
    """0 or 1. In a conversation with oneself 0."""
    return 0 if user == key.low else 1


# ── heads and records ────────────────────────────────────────────────────────────────────────

_RECORDED_AT: Final = 1 + CHAIN_BYTES
_RECORD_VERSION_BYTE: Final = bytes((RECORD_VERSION,))


def unpack_head(row: bytes) -> tuple[int, bytes]:
    """(serverSeq, chain) of a conversation's last record."""
    server_seq, chain = _head.unpack(row)
    return server_seq, chain


class InboxState(NamedTuple):
    """A value of `inboxes`: the inbox's head, and what quotas count of its user.

    `inbox_bytes` are the `record_bytes` of all records in this inbox, `sent_bytes` of all that
    its user has sent.
    """

    global_inbox_seq: int = 0
    truncated_through: int = 0
    inbox_bytes: int = 0
    sent_bytes: int = 0


def unpack_inbox_state(row: bytes) -> InboxState:
    """The inverse of `pack_inbox_state`."""
    return InboxState._make(_four.unpack(row))


def record_bytes(recorded: bytes) -> int:
    """How long a value of `log` is: what quotas count of a record."""
    return _RECORDED_AT + len(recorded)


def pack_record(chain: bytes, recorded: bytes) -> bytes:
    """A value of `log`; `recorded` is what `ksmp.codec.encode_recorded` returns."""
    return _RECORD_VERSION_BYTE + chain + recorded


def unpack_record(row: bytes) -> tuple[bytes, bytes]:
    """(chain, recorded).

    Raises:
        ValueError: the row is of another version, or too short for any.
    """
    if len(row) <= _RECORDED_AT or row[0] != RECORD_VERSION:
        raise ValueError("not a record of version 1")
    return row[1:_RECORDED_AT], row[_RECORDED_AT:]


# ── idempotency keys ─────────────────────────────────────────────────────────────────────────


class KeyRow(NamedTuple):
    """What is remembered of a send: the fields of its ack, and the digest of its payload."""

    server_seq: int
    server_received_at_ms: int
    chain: bytes
    payload_digest: bytes


def unpack_key_row(row: bytes) -> KeyRow:
    """A value of `keys`."""
    return KeyRow(*_key_row.unpack(row))


def payload_digest(payload: bytes) -> bytes:
    """32 bytes, equal for equal sends; `payload` is `ksmp.chain.chain_payload` of the envelope."""
    return sha256(payload).digest()


# ── read positions ───────────────────────────────────────────────────────────────────────────


class Mark(NamedTuple):
    """A maximum of what someone has read; all 0 before the first.

    `stored_at` is the head of the inbox that sees this maximum, as it was when it last rose.
    """

    server_seq: int = 0
    read_at_ms: int = 0
    stored_at: int = 0

    @property
    def position(self) -> ReadPosition:
        """What a reader of the log is told of it."""
        return ReadPosition(ServerSeq(self.server_seq), TimeMs(self.read_at_ms))


class Marks(NamedTuple):
    """Both maxima of one reader: `own` of all marks, `public` of those that were not private."""

    own: Mark = Mark()
    public: Mark = Mark()


def pack_marks(marks: Marks) -> bytes:
    """A value of `reads`. Nothing else tells how far somebody has read, so it has a check."""
    return with_check(_marks.pack(*marks.own, *marks.public))


def unpack_marks(row: bytes) -> Marks:
    """The inverse of `pack_marks`; also of rows from before there were checks.

    Raises:
        ValueError: these bytes are not those that were stored.
    """
    fields = _marks.unpack(without_check(row, _marks.size))
    return Marks(Mark(*fields[:3]), Mark(*fields[3:]))


def check_of(row: bytes) -> bytes:
    """What is stored behind a row of which no other row says the same: against bits that flip.

    So long that no flip of one bit in a row's length leaves the row without it.
    """
    return blake2b(row, digest_size=_CHECK_BYTES).digest()


def with_check(row: bytes) -> bytes:
    """`row`, and its check behind it."""
    return row + check_of(row)


def without_check(stored: bytes, size: int) -> bytes:
    """The first `size` bytes, that have their check behind them, or come from before there was one.

    Raises:
        ValueError: these bytes are not those that were stored.
    """
    row, check = stored[:size], stored[size:]
    if check not in (b"", check_of(row)):
        raise ValueError("a row differs from what was stored")
    return row


class IndexKey(NamedTuple):
    """A key of `read_index`: `user` sees how far the participant on `side` has read."""

    user: int
    stored_at: int
    conversation: int
    side: int

    def pack(self) -> bytes:
        """In this order, so that one range is everything a user sees from an inbox head on."""
        return _index.pack(*self)

    def reads_key(self) -> bytes:
        """The key in `reads` of the marks this row is about."""
        return pack_side(self.conversation, self.side)


def unpack_index_key(key: bytes) -> IndexKey:
    """The inverse of `IndexKey.pack`."""
    return IndexKey(*_index.unpack(key))


def index_keys(numbers: ConversationNumbers, side: int, marks: Marks) -> list[IndexKey]:
    """The rows of `read_index` that `marks` of the participant on `side` ought to have.

    The reader's own devices see the maximum of all marks, the peer that of the public ones. In a
    conversation with oneself the first says it all.
    """
    reader, peer = (numbers.low, numbers.high) if side == 0 else (numbers.high, numbers.low)
    rows = []
    if marks.own.server_seq:
        rows.append(IndexKey(reader, marks.own.stored_at, numbers.conversation, side))
    if marks.public.server_seq and peer != reader:
        rows.append(IndexKey(peer, marks.public.stored_at, numbers.conversation, side))
    return rows
