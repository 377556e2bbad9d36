"""Writes a history down while it happens: a queue of small records, encoded and written in batches.

The caller numbers nothing: it names users, conversations and ciphertexts, and is given the numbers
that later records refer to. Times are the recorder's own, taken when a record is made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from time import monotonic_ns, time_ns
from types import TracebackType
from typing import Final, Self

import msgspec

from bench.checker import records as r
from bench.checker.digests import Envelope, mark, payload_mark, payload_of, start_of

BATCH: Final = 1_000
"""Records that are encoded and written at a time."""

_encode_msgpack: Final = msgspec.msgpack.Encoder().encode
_encode_lines: Final = msgspec.json.Encoder().encode_lines


class Recorder:
    """One history being written: JSON lines where the path ends in `.jsonl`, else MessagePack.

    Ends with `close`; a history that was not closed is known to be cut off.
    """

    def __init__(
        self,
        path: Path,
        *,
        relay: str,
        seed: int | None = None,
        configuration: Mapping[str, r.Setting] | None = None,
        now_ns: Callable[[], int] = monotonic_ns,
        wall_ns: Callable[[], int] = time_ns,
    ) -> None:
        self.wall_began_ms = wall_ns() // 1_000_000
        self.attempts = 0
        self._encode = _encode_lines if path.suffix == ".jsonl" else _stream
        self._file = path.open("wb")
        self._now = now_ns
        self._last = now_ns()
        self._queue: list[r.Record] = []
        self._users: dict[str, int] = {}
        self._conversations: dict[tuple[str, str, str], int] = {}
        self._conversation_count = 0
        self._contents: dict[bytes, int] = {}
        self._connections = 0
        self._reads = 0
        self._windows = 0
        header = r.Header(
            r.FORMAT, relay, seed, dict(configuration or {}), "monotonic", self.wall_began_ms
        )
        self._file.write(self._encode([header]))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close; after an exception, as a history that is cut off."""
        if kind is None:
            self.close()
        else:
            self.cut_off()

    def close(self) -> None:
        """The history is whole."""
        self._put(r.Over(self._after()))
        self._flush()
        self._file.close()

    def cut_off(self) -> None:
        """Keep what was recorded, if the history was not closed: it is not whole."""
        if not self._file.closed:
            self._flush()
            self._file.close()

    # ── names ────────────────────────────────────────────────────────────────────────────────

    def user(self, user_id: str, base: int = 0) -> int:
        """The number of a user; `base` is the inbox's head before this history."""
        number = self._users.get(user_id)
        if number is None:
            number = self._users[user_id] = len(self._users)
            self._put(r.Named(number, user_id, base))
        return number

    def conversation(
        self, conversation_id: str, one: str, other: str, *, is_new: bool = True
    ) -> int:
        """The number of the conversation of two users."""
        number = self._conversations.get((conversation_id, one, other))
        if number is None:
            number = self._conversation_count
            self._conversation_count += 1
            self._conversations[conversation_id, one, other] = number
            self._conversations[conversation_id, other, one] = number
            users = self.user(one), self.user(other)
            self._put(r.Begun(number, conversation_id, *users, is_new))
        return number

    def content(self, ciphertext: bytes) -> int:
        """The number of a ciphertext; recorded is its SHA-256."""
        digest = sha256(ciphertext).digest()
        number = self._contents.get(digest)
        if number is None:
            number = self._contents[digest] = len(self._contents)
            self._put(r.Content(number, digest.hex()))
        return number

    # ── connections ──────────────────────────────────────────────────────────────────────────

    def connected(
        self,
        user: int,
        *,
        device: str,
        subprotocol: str,
        epoch: str,
        head: int,
        opening_began_ns: int | None = None,
    ) -> int:
        """A connection's first event has come; the connection's number."""
        number = self._connections
        self._connections += 1
        after = self._after()
        took = 0 if opening_began_ns is None else max(0, self._last - opening_began_ns)
        self._put(r.Connected(after, number, user, device, subprotocol, epoch, head, took))
        return number

    def resume(self, connection: int, cursor: int | None, *, is_final: bool = False) -> None:
        """It asks for everything after a cursor."""
        self._put(r.Resume(self._after(), connection, cursor, is_final))

    def resumed(self, connection: int, global_inbox_seq: int) -> None:
        """It is told that the replay is complete."""
        self._put(r.Resumed(self._after(), connection, global_inbox_seq))

    def frames(self, connection: int, frames: tuple[r.Frame, ...]) -> None:
        """It is sent inbox frames, made by `frame`."""
        self._put(r.Frames(self._after(), connection, frames))

    def frame(
        self,
        envelope: Envelope,
        *,
        global_inbox_seq: int,
        previous: int,
        server_seq: int,
        received_ms: int,
        chain: bytes,
        raw: bytes,
    ) -> r.Frame:
        """One inbox frame; `raw` are the bytes of its message."""
        conversation, payload = self.written(envelope)
        return r.Frame(
            global_inbox_seq,
            previous,
            conversation,
            server_seq,
            received_ms - self.wall_began_ms,
            payload,
            start_of(chain),
            mark(raw),
        )

    def written(self, envelope: Envelope) -> tuple[int, int]:
        """What a frame tells of its envelope: its conversation's number, and its payload's mark.

        A conversation that was not named before is taken for one from before this history.
        """
        conversation_id = envelope.conversation_id
        people = (envelope.sender, envelope.recipient)
        return (
            self.conversation(conversation_id, *people, is_new=False),
            payload_mark(conversation_id, payload_of(envelope)),
        )

    def closed(self, connection: int, code: int | None) -> None:
        """It has ended; `None`: without a close frame of the relay."""
        self._put(r.Closed(self._after(), connection, code))

    def refused(self, user: int, status: int, code: str) -> None:
        """A handshake of this user was refused."""
        self._put(r.Refused(self._after(), user, status, code))

    # ── sends ────────────────────────────────────────────────────────────────────────────────

    def send(
        self,
        connection: int,
        conversation: int,
        content: int,
        *,
        created_ms: int,
        message_id: str,
        key: str | None = None,
        content_type: str = "text",
        late_ns: int = 0,
    ) -> int:
        """A new envelope is offered; the attempt's number."""
        attempt = self.attempts
        self.attempts += 1
        self._put(
            r.Send(
                self._after(),
                connection,
                attempt,
                conversation,
                content,
                created_ms - self.wall_began_ms,
                message_id,
                None if key == message_id else key,
                content_type,
                late_ns,
            )
        )
        return attempt

    def again(self, connection: int, of: int) -> int:
        """The envelope of an attempt is offered once more; the new attempt's number."""
        attempt = self.attempts
        self.attempts += 1
        self._put(r.Again(self._after(), connection, attempt, of))
        return attempt

    def ok(
        self, attempt: int, *, server_seq: int, received_ms: int, chain: bytes, raw: bytes
    ) -> None:
        """It is acked."""
        received_ms -= self.wall_began_ms
        chain_mark, raw_mark = start_of(chain), mark(raw)
        self._put(r.Ok(self._after(), attempt, server_seq, received_ms, chain_mark, raw_mark))

    def fail(
        self, attempt: int, *, code: str, action: str, retry_after_ms: int | None, message: str
    ) -> None:
        """It is refused, and promised not to be stored."""
        self._put(r.Fail(self._after(), attempt, code, action, retry_after_ms, message))

    def info(self, attempt: int, why: str) -> None:
        """It has ended without a known outcome."""
        self._put(r.Info(self._after(), attempt, why))

    # ── read positions, other errors ─────────────────────────────────────────────────────────

    def read(
        self, connection: int, conversation: int, server_seq: int, *, private: bool = False
    ) -> int:
        """The user says how far they have read; the read's number."""
        number = self._reads
        self._reads += 1
        self._put(r.Read(self._after(), connection, number, conversation, server_seq, private))
        return number

    def read_ok(self, read: int, server_seq: int) -> None:
        """It is answered."""
        self._put(r.ReadOk(self._after(), read, server_seq))

    def position(self, connection: int, conversation: int, reader: int, server_seq: int) -> None:
        """A connection is shown how far somebody has read."""
        self._put(r.Position(self._after(), connection, conversation, reader, server_seq))

    def error(
        self,
        connection: int,
        *,
        code: str,
        action: str,
        retry_after_ms: int | None,
        message: str,
        about: str | None = None,
        truncated_through: int | None = None,
    ) -> None:
        """An error event that fails no attempt."""
        after = self._after()
        told = (code, action, retry_after_ms, message, about, truncated_through)
        self._put(r.Error(after, connection, *told))

    # ── the world ────────────────────────────────────────────────────────────────────────────

    def down(self, how: str) -> None:
        """The relay's process is ended."""
        self._put(r.Down(self._after(), how))

    def up(self) -> None:
        """It runs again."""
        self._put(r.Up(self._after()))

    def begin(self, kind: str, victims: tuple[int, ...] = (), sync_ms: int = 0) -> int:
        """A fault begins, or the baseline; the window's number."""
        number = self._windows
        self._windows += 1
        self._put(r.Begin(self._after(), number, kind, victims, sync_ms))
        return number

    def end(self, window: int) -> None:
        """It ends."""
        self._put(r.End(self._after(), window))

    def head(self, conversation: int, server_seq: int) -> None:
        """What the store says at the end."""
        self._put(r.Head(self._after(), conversation, server_seq))

    # ── the queue ────────────────────────────────────────────────────────────────────────────

    def _after(self) -> int:
        now = self._now()
        after, self._last = now - self._last, now
        return after

    def _put(self, record: r.Record) -> None:
        self._queue.append(record)
        if len(self._queue) >= BATCH:
            self._flush()

    def _flush(self) -> None:
        self._file.write(self._encode(self._queue))
        self._queue.clear()


def _stream(records: Sequence[r.Header | r.Record]) -> bytes:
    """One MessagePack value after another: an array of them, without what says that it is one."""
    return _encode_msgpack(records)[1 if len(records) < 16 else 3 if len(records) < 65_536 else 5 :]
