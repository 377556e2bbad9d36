"""What a history is made of: a `Header`, then one record after another, `Over` at the end.

A record is an array whose first item is its kind; a field may be left out at the end where it has
a default. Records are in the order of time, and `after_ns` is the time since the record before
(since the beginning, for the first), read from one monotonic clock. Wall-clock times are
milliseconds since `Header.wall_began_ms`.

Names are numbered where they first appear: users, conversations and contents are numbered 0, 1, 2 …
by their own records, connections by `Connected`, attempts by `Send` and `Again` together. A mark is
the first 8 bytes of a SHA-256 (`digests.mark`), as a number.
"""

from __future__ import annotations

from typing import Final, get_args

from msgspec import Struct

FORMAT: Final = 1

Setting = str | int | float | bool | None


class Header(Struct, frozen=True):
    """What the history is of. `history` is the version of the format."""

    history: int
    relay: str
    seed: int | None
    configuration: dict[str, Setting]
    clock: str
    wall_began_ms: int


# ── names ────────────────────────────────────────────────────────────────────────────────────


class Named(Struct, array_like=True, frozen=True, gc=False, tag="user"):
    """A user. What the inbox held before this history began ends with number `base`."""

    number: int
    user_id: str
    base: int = 0


class Begun(Struct, array_like=True, frozen=True, gc=False, tag="conversation"):
    """A conversation of two users, or of one with itself. `is_new`: it began in this history."""

    number: int
    conversation_id: str
    one: int
    other: int
    is_new: bool = True


class Content(Struct, array_like=True, frozen=True, gc=False, tag="content"):
    """The SHA-256 of a ciphertext that is going to be sent."""

    number: int
    sha256: str


# ── connections ──────────────────────────────────────────────────────────────────────────────


class Connected(Struct, array_like=True, frozen=True, gc=False, tag="connected"):
    """A connection's first event has come; opening it began `took_ns` earlier."""

    after_ns: int
    connection: int
    user: int
    device: str
    subprotocol: str
    epoch: str
    head: int
    took_ns: int = 0


class Resume(Struct, array_like=True, frozen=True, gc=False, tag="resume"):
    """A connection has asked for everything after a cursor; `None`: from now on.

    `is_final`: nothing else goes on any more, and what comes is the whole inbox after the user's
    base. It is the last word on what is stored.
    """

    after_ns: int
    connection: int
    cursor: int | None
    is_final: bool = False


class Resumed(Struct, array_like=True, frozen=True, gc=False, tag="resumed"):
    """`resume.complete` has come, with this number."""

    after_ns: int
    connection: int
    global_inbox_seq: int


class Frame(Struct, array_like=True, frozen=True, gc=False):
    """One inbox frame. `payload` marks the nine fields as sent, `raw` the bytes as they came."""

    global_inbox_seq: int
    previous: int
    conversation: int
    server_seq: int
    received_ms: int
    payload: int
    chain: int
    raw: int


class Frames(Struct, array_like=True, frozen=True, gc=False, tag="in"):
    """Inbox frames that have come on one connection, at once or nearly so."""

    after_ns: int
    connection: int
    frames: tuple[Frame, ...]


class Closed(Struct, array_like=True, frozen=True, gc=False, tag="closed"):
    """A connection has ended: by the relay with a close code, or (`None`) in any other way."""

    after_ns: int
    connection: int
    code: int | None = None


class Refused(Struct, array_like=True, frozen=True, gc=False, tag="refused"):
    """A handshake was answered with an HTTP error."""

    after_ns: int
    user: int
    status: int
    code: str


# ── sends ────────────────────────────────────────────────────────────────────────────────────


class Send(Struct, array_like=True, frozen=True, gc=False, tag="send"):
    """A new envelope is offered, by the connection's user to the other of the conversation.

    `key` is left out where it is the message id. `late_ns`: it was meant to be sent so much
    earlier, and latency counts from then.
    """

    after_ns: int
    connection: int
    attempt: int
    conversation: int
    content: int
    created_ms: int
    message_id: str
    key: str | None = None
    content_type: str = "text"
    late_ns: int = 0


class Again(Struct, array_like=True, frozen=True, gc=False, tag="again"):
    """The envelope of an earlier attempt is offered once more, as it was."""

    after_ns: int
    connection: int
    attempt: int
    of: int


class Ok(Struct, array_like=True, frozen=True, gc=False, tag="ok"):
    """The attempt is acked."""

    after_ns: int
    attempt: int
    server_seq: int
    received_ms: int
    chain: int
    raw: int


class Fail(Struct, array_like=True, frozen=True, gc=False, tag="fail"):
    """The attempt was refused by an error that promises that it was not stored."""

    after_ns: int
    attempt: int
    code: str
    action: str
    retry_after_ms: int | None
    message: str


class Info(Struct, array_like=True, frozen=True, gc=False, tag="info"):
    """The attempt ended and may be stored or not: `outcome_unknown`, a lost line, a time-out."""

    after_ns: int
    attempt: int
    why: str


# ── read positions, other errors ─────────────────────────────────────────────────────────────


class Read(Struct, array_like=True, frozen=True, gc=False, tag="read"):
    """The connection's user says how far a conversation was read."""

    after_ns: int
    connection: int
    read: int
    conversation: int
    server_seq: int
    private: bool = False


class ReadOk(Struct, array_like=True, frozen=True, gc=False, tag="read.ok"):
    """The answer to a read: the maximum of all, as it is now."""

    after_ns: int
    read: int
    server_seq: int


class Position(Struct, array_like=True, frozen=True, gc=False, tag="position"):
    """A connection was shown how far somebody has read."""

    after_ns: int
    connection: int
    conversation: int
    reader: int
    server_seq: int


class Error(Struct, array_like=True, frozen=True, gc=False, tag="error"):
    """An error that settles no attempt; `about` is the type of the event it answers, if any.

    Those that settle one with an unknown outcome come here as well, beside their `Info`.
    """

    after_ns: int
    connection: int
    code: str
    action: str
    retry_after_ms: int | None
    message: str
    about: str | None = None
    truncated_through: int | None = None


# ── the world ────────────────────────────────────────────────────────────────────────────────


class Down(Struct, array_like=True, frozen=True, gc=False, tag="down"):
    """The relay's process has been ended: `kill`, `terminate`, `crash` …"""

    after_ns: int
    how: str


class Up(Struct, array_like=True, frozen=True, gc=False, tag="up"):
    """It runs again."""

    after_ns: int


class Begin(Struct, array_like=True, frozen=True, gc=False, tag="begin"):
    """A window opens: `baseline`, or a fault with the conversations it strikes.

    `sync_ms`: while it lasts, a sync of the disk takes so much longer.
    """

    after_ns: int
    window: int
    kind: str
    victims: tuple[int, ...] = ()
    sync_ms: int = 0


class End(Struct, array_like=True, frozen=True, gc=False, tag="end"):
    """The window closes."""

    after_ns: int
    window: int


class Head(Struct, array_like=True, frozen=True, gc=False, tag="head"):
    """At the end the store itself says what number a conversation's last record has."""

    after_ns: int
    conversation: int
    server_seq: int


class Over(Struct, array_like=True, frozen=True, gc=False, tag="over"):
    """Nothing is missing: the recording was ended, and not cut off."""

    after_ns: int


Record = (
    Named
    | Begun
    | Content
    | Connected
    | Resume
    | Resumed
    | Frames
    | Closed
    | Refused
    | Send
    | Again
    | Ok
    | Fail
    | Info
    | Read
    | ReadOk
    | Position
    | Error
    | Down
    | Up
    | Begin
    | End
    | Head
    | Over
)

KINDS: Final[dict[str, type[Record]]] = {
    str(kind.__struct_config__.tag): kind for kind in get_args(Record)
}
"""The name of a kind → its type."""
