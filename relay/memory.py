"""How much memory the relay can be made to hold: the sum of all buffers, computed from the limits.

Everything that a stranger or a client can make the process keep has a limit; here they are added
up, as if every connection did its worst at once. Each byte is counted where it is bounded most
tightly, and once:

    mailboxes        not here: a letter in one is a send under way, and those are bounded in all
    a replay         not here: what a reader has not taken waits in the store; what is on its way
                     to a connection is in that connection's queue
    closing ones     are connections until they are gone; the replaced ones among them are bounded

Not in the sum: the interpreter with the program in it, which an idle relay shows; the buffers of
sockets, which the kernel bounds; the store's pages in the page cache, which the kernel takes back
when it needs them; and what somebody whom the operator trusts decides, who is a user and whom a
token names in `peers`.

A size below that is not a limit of the configuration is what Python's objects were measured to
take, rounded up.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from actors.dead_letters import DEAD_LETTERS
from actors.delivery import PAGE_BYTES, READ_STATES_PER_PAGE
from actors.mailbox import BATCH_BYTES
from actors.quarantines import MOST_QUARANTINES
from actors.router import most_live
from relay.admin.gate import AT_ONCE
from relay.admin.http_server import CONNECTIONS
from relay.admissions import most_replaced
from relay.config import KIB, MIB, Config, LimitsConfig
from relay.transport.http import MAX_HEAD_BYTES
from relay.transport.stream import RECEIVE_BYTES
from relay.transport.write_queue import DRAIN_BYTES, SENT_KEPT_BYTES
from storage.group_commit import SMALL_OPERATION_BYTES
from storage.journal import SEGMENT_BYTES
from storage.names import REMEMBERED_NAMES
from storage.transaction import MOST_FILLED

CONNECTION_BYTES: Final = 40 * KIB
"""An idle connection with its share of its user's inbox and rates, and its writing task."""

ANSWER_BYTES: Final = 1 * KIB
"""An answer with five identifiers of 128 characters, in JSON, and its place in a queue."""

LEAST_MESSAGE_BYTES: Final = 8
"""A message on the wire whose payload is an object of its own in memory."""

MESSAGE_OBJECT_BYTES: Final = 64
"""Such a message once it is read: the object, and its place among others."""

TLS_BYTES: Final = 160 * KIB
"""What TLS keeps of a connection: its state, one read, one record in each direction."""

CLIENT_HELLO_BYTES: Final = 128 * KIB
"""The longest beginning of a TLS handshake that is waited for."""

HANDSHAKE_BYTES: Final = 24 * KIB + 3 * MAX_HEAD_BYTES + 2 * RECEIVE_BYTES
"""A task, a head that is nearly complete with what was made of it, and what came behind it."""

LETTER_BYTES: Final = 1 * KIB + 256
"""A send or read under way, beside what it carries: letter, append, place in the queue, outcome."""

LEAST_LETTER_BYTES: Final = 60
"""The shortest event that becomes a letter, on the wire: a read of names one character long."""

ROWS_BYTES: Final = 3 * KIB
"""The rows of one record in a transaction, beside the record."""

UNFOLDED_FACTOR: Final = 6
"""What rows that are not in the tables yet take, for each byte that the journal has of them: most
for read positions, which are five short rows."""

PAGES_PER_OPERATION: Final = 8
"""How many of the engine's pages one operation changes where no two change the same."""

ENGINE_PAGE_BYTES: Final = 4 * KIB
ENGINE_DIRTY_BYTES: Final = 512 * MIB
"""How much the engine keeps of a transaction before it writes some of it."""

CONVERSATION_BYTES: Final = 12 * KIB
"""A conversation's task and its empty mailbox."""

FAILURE_BYTES: Final = 1 * KIB
"""What is remembered of a conversation in quarantine, or of a dead letter: mostly three names."""

NAME_BYTES: Final = 640
"""One remembered name of a user or a conversation, with its number."""


ADMIN_CONNECTION_BYTES: Final = 256 * KIB
"""A connection to the admin listener: a read, a head that lacks its end, two tasks."""

ADMIN_ANSWER_BYTES: Final = 128 * KIB
"""The longest page, which is that of the dead letters."""

ADMIN_PAGE_BYTES: Final = 1 * MIB
"""What becomes such a page, while it is made."""


class Part(NamedTuple):
    """One kind of memory: how many of it there can be, and what each can take."""

    name: str
    number: int
    bytes_each: int

    @property
    def bytes(self) -> int:
        """All of them together."""
        return self.number * self.bytes_each


def parts(config: Config) -> tuple[Part, ...]:
    """Everything that is in the sum."""
    return tuple(_parts(config))


def most_bytes(config: Config) -> int:
    """The sum: the relay never holds more than this, beside what it holds when it is idle."""
    return sum(part.bytes for part in parts(config))


def human(size: int) -> str:
    """`size` in the unit that suits it, rounded up: what is said to be the most must be."""
    for unit, name in ((1024 * MIB, "GiB"), (MIB, "MiB")):
        if size >= 10 * unit:
            return f"{-(-size // unit):,} {name}"
    return f"{-(-size // KIB):,} KiB"


def _parts(config: Config) -> Iterator[Part]:
    limits = config.limits
    connections = _most_connections(limits)
    yield Part("connections", connections, CONNECTION_BYTES)
    yield Part("connections, incoming", connections, _incoming_bytes(config))
    yield Part("connections, outgoing", connections, _outgoing_bytes(limits))
    yield Part("handshakes", limits.handshakes, HANDSHAKE_BYTES)
    if config.server.tls_certificate is not None:
        yield Part("connections, TLS", connections, TLS_BYTES)
        yield Part("handshakes, TLS", limits.handshakes, TLS_BYTES + CLIENT_HELLO_BYTES)
    # As it was received, and as it is going to be stored.
    yield Part("sends under way, bytes", 2, limits.sends_under_way_bytes)
    yield Part("sends under way", _letters(limits), LETTER_BYTES)
    yield Part("commit", 1, _commit_bytes(limits))
    yield Part("rows not in the tables yet", 2, UNFOLDED_FACTOR * MOST_FILLED * SEGMENT_BYTES)
    yield Part("conversations", most_live(limits.live_conversations), CONVERSATION_BYTES)
    yield Part("remembered failures", MOST_QUARANTINES + DEAD_LETTERS, FAILURE_BYTES)
    yield Part("recent records", 1, limits.recent_records_bytes * 9 // 8)
    yield Part("remembered names", 2 * REMEMBERED_NAMES, NAME_BYTES)
    if config.admin.enabled:
        each = ADMIN_CONNECTION_BYTES + ADMIN_ANSWER_BYTES
        yield Part("admin connections", CONNECTIONS, each)
        yield Part("admin pages", 2 * AT_ONCE, ADMIN_PAGE_BYTES)  # with the token, and without


def _most_connections(limits: LimitsConfig) -> int:
    return limits.connections + most_replaced(limits.connections)


def _incoming_bytes(config: Config) -> int:
    """What was read from one connection and not yet taken: one of two, never both.

    A message that lacks its last byte, in a buffer that grows by an eighth at a time and may not
    have given back the read before. Or the messages of one read that wait until there is room for
    their answers: what is long among them comes first and has been taken, and a message of next to
    nothing costs more in memory than on the wire.
    """
    longest = config.limits.max_frame_bytes
    if config.server.websocket == "trio-websocket":
        # Whoever does not use it does not load it.
        from relay.transport.trio_websocket import most_unfinished_bytes

        incomplete = most_unfinished_bytes(longest)
    else:
        incomplete = (longest + 14 + RECEIVE_BYTES) * 9 // 8
    untaken = RECEIVE_BYTES // LEAST_MESSAGE_BYTES * MESSAGE_OBJECT_BYTES
    return max(incomplete, untaken)


def _outgoing_bytes(limits: LimitsConfig) -> int:
    """What waits to be written to one connection.

    Past `outbound_bytes` nothing more is read from it and no record is sent to it. Beyond that come
    the event that was one too many, the answers to what was accepted before, and the pages that
    were asked for while there was room.
    """
    event = max(limits.largest_event_bytes, PAGE_BYTES)
    answers = (limits.unacked_sends + 2) * ANSWER_BYTES
    read_states = READ_STATES_PER_PAGE * ANSWER_BYTES
    partly_sent = 2 * SENT_KEPT_BYTES + DRAIN_BYTES
    return limits.outbound_bytes + event + answers + read_states + partly_sent


def _letters(limits: LimitsConfig) -> int:
    connections = _most_connections(limits)
    by_bytes = limits.sends_under_way_bytes // LEAST_LETTER_BYTES
    return min(connections * limits.unacked_sends, by_bytes)


def _commit_bytes(limits: LimitsConfig) -> int:
    """One transaction: its rows, and the pages that the engine makes of them."""
    stored = max(limits.commit_bytes, BATCH_BYTES + limits.max_frame_bytes)
    operations = min(limits.commit_bytes // SMALL_OPERATION_BYTES, _letters(limits))
    pages = operations * PAGES_PER_OPERATION * ENGINE_PAGE_BYTES + 2 * stored
    return 2 * stored + operations * ROWS_BYTES + min(pages, ENGINE_DIRTY_BYTES)
