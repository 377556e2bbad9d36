"""What happened, in columns: eight bytes for each number, so that millions of frames fit.

A row is known by its number in its table. Nothing is judged here.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from enum import IntEnum

from bench.checker.digests import Envelope, payload_of
from bench.checker.records import Header


class Outcome(IntEnum):
    """How an attempt ended. One without an answer may have been stored, like `INFO`."""

    NONE = 0
    OK = 1
    FAIL = 2
    INFO = 3


def _signed() -> array[int]:
    return array("q")


def _marks() -> array[int]:
    return array("Q")


@dataclass(slots=True, eq=False)
class Offers:
    """Each envelope that was ever offered, once."""

    conversation: array[int] = field(default_factory=_signed)
    sender: array[int] = field(default_factory=_signed)
    content: array[int] = field(default_factory=_signed)
    created_ms: array[int] = field(default_factory=_signed)
    key: array[int] = field(default_factory=_signed)
    """A number for the sender, the conversation and the key together."""
    payload: array[int] = field(default_factory=_marks)
    message_ids: list[str] = field(default_factory=list)
    key_texts: list[str] = field(default_factory=list)
    content_types: list[str] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Attempts:
    """Each time an envelope was offered; what follows `outcome` counts only where it is `OK`."""

    at: array[int] = field(default_factory=_signed)
    late: array[int] = field(default_factory=_signed)
    connection: array[int] = field(default_factory=_signed)
    offer: array[int] = field(default_factory=_signed)
    settled_at: array[int] = field(default_factory=_signed)
    outcome: array[int] = field(default_factory=lambda: array("b"))
    server_seq: array[int] = field(default_factory=_signed)
    received_ms: array[int] = field(default_factory=_signed)
    chain: array[int] = field(default_factory=_marks)
    raw: array[int] = field(default_factory=_marks)


@dataclass(slots=True, eq=False)
class FrameRows:
    """Every inbox frame of every connection, in the order of arrival."""

    at: array[int] = field(default_factory=_signed)
    connection: array[int] = field(default_factory=_signed)
    global_inbox_seq: array[int] = field(default_factory=_signed)
    previous: array[int] = field(default_factory=_signed)
    conversation: array[int] = field(default_factory=_signed)
    server_seq: array[int] = field(default_factory=_signed)
    received_ms: array[int] = field(default_factory=_signed)
    payload: array[int] = field(default_factory=_marks)
    chain: array[int] = field(default_factory=_marks)
    raw: array[int] = field(default_factory=_marks)


@dataclass(slots=True)
class Asked:
    """A resume, and how it went. Positions count the frames of the connection before it."""

    at: int
    cursor: int | None
    is_final: bool
    position: int
    was_refused: bool = False
    completed: list[tuple[int, int, int]] = field(default_factory=list)
    """Time, number and position of each `resume.complete`."""


@dataclass(slots=True)
class Connection:
    """One connection and the rows of its frames."""

    user: int
    device: str
    subprotocol: str
    epoch: str
    head: int
    opened_at: int
    at: int
    rows: array[int] = field(default_factory=_signed)
    asked: list[Asked] = field(default_factory=list)
    jumps: list[tuple[int, int]] = field(default_factory=list)
    """Position, and the number through which records are gone."""
    closed: int | None = None


@dataclass(slots=True, frozen=True)
class Conversation:
    """Who is in it: two users, or the same one twice."""

    conversation_id: str
    users: tuple[int, int]
    is_new: bool

    def peer_of(self, user: int) -> int:
        """The other one, or oneself."""
        one, other = self.users
        return other if user == one else one


@dataclass(slots=True, frozen=True)
class User:
    """A user, and the inbox's last number before this history."""

    user_id: str
    base: int


@dataclass(slots=True)
class ReadAsked:
    """An `ack.read`, and its answer (−1: none)."""

    at: int
    connection: int
    reader: int
    conversation: int
    server_seq: int
    private: bool
    answered_at: int = -1
    answer: int = -1


@dataclass(slots=True, frozen=True)
class PositionSeen:
    """A `read` event that nobody had to ask for."""

    at: int
    connection: int
    conversation: int
    reader: int
    server_seq: int


@dataclass(slots=True, frozen=True)
class Refusal:
    """An error event, as it came."""

    at: int
    who: str
    code: str
    action: str
    retry_after_ms: int | None
    message: str


@dataclass(slots=True, frozen=True)
class HttpRefusal:
    """A handshake that was refused."""

    at: int
    user: int
    status: int
    code: str


@dataclass(slots=True, frozen=True)
class CursorRefused:
    """A resume that did not fit the store."""

    at: int
    connection: int
    cursor: int | None
    code: str


@dataclass(slots=True)
class Window:
    """The baseline, or a fault. One that was not closed lasts to the end."""

    kind: str
    began_at: int
    victims: frozenset[int]
    sync_ms: int
    ended_at: int = 2**63 - 1


@dataclass(slots=True, eq=False)
class Story:
    """Everything in a history. Times are nanoseconds since its beginning."""

    header: Header
    users: list[User] = field(default_factory=list)
    conversations: list[Conversation] = field(default_factory=list)
    contents: list[bytes] = field(default_factory=list)
    connections: list[Connection] = field(default_factory=list)
    offers: Offers = field(default_factory=Offers)
    offer_of_payload: dict[int, int] = field(default_factory=dict)
    attempts: Attempts = field(default_factory=Attempts)
    frames: FrameRows = field(default_factory=FrameRows)
    reads: list[ReadAsked] = field(default_factory=list)
    positions: list[PositionSeen] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    http_refusals: list[HttpRefusal] = field(default_factory=list)
    cursors_refused: list[CursorRefused] = field(default_factory=list)
    closes: list[tuple[int, int, int]] = field(default_factory=list)
    """Time, connection and code of each close by the relay."""
    downs: list[tuple[int, str]] = field(default_factory=list)
    ups: list[int] = field(default_factory=list)
    windows: dict[int, Window] = field(default_factory=dict)
    heads: dict[int, int] = field(default_factory=dict)
    records: int = 0
    ended_at: int = 0
    is_whole: bool = False

    def user_of_row(self, row: int) -> int:
        """Whose inbox a frame is of."""
        return self.connections[self.frames.connection[row]].user

    def payload_of_offer(self, offer: int) -> bytes:
        """What a link of the chain hashes of this envelope."""
        return payload_of(self.envelope_of(offer))

    def envelope_of(self, offer: int) -> Envelope:
        """The envelope as it was offered."""
        offers = self.offers
        conversation = self.conversations[offers.conversation[offer]]
        sender = offers.sender[offer]
        return Envelope(
            conversation.conversation_id,
            offers.message_ids[offer],
            self.users[sender].user_id,
            self.users[conversation.peer_of(sender)].user_id,
            offers.content_types[offer],
            offers.created_ms[offer] + self.header.wall_began_ms,
            offers.key_texts[offer],
            self.contents[offers.content[offer]],
        )
