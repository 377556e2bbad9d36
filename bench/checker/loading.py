"""Records become a story. What refers to nothing is an error of the history, not of the relay."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sized
from pathlib import Path
from typing import Final

from bench.checker import records as r
from bench.checker.digests import payload_mark
from bench.checker.reading import HistoryError, Opened, opened
from bench.checker.story import (
    Asked,
    Connection,
    Conversation,
    CursorRefused,
    HttpRefusal,
    Outcome,
    PositionSeen,
    ReadAsked,
    Refusal,
    Story,
    User,
    Window,
)

SHA256_BYTES: Final = 32
RECORDS_BETWEEN: Final = 10_000
"""Records read between two words on the progress."""


def load(path: Path, progress: Callable[[float], None] = lambda _: None) -> Story:
    """The story that a file tells; `progress` is told how much of it was read.

    Raises:
        HistoryError: it is not a history, or contradicts itself.
        OSError: it cannot be read.
    """
    with opened(path) as history:
        return story_of(history.header, _told(history, progress))


def _told(history: Opened, progress: Callable[[float], None]) -> Iterator[r.Record]:
    for number, record in enumerate(history.records):
        if number % RECORDS_BETWEEN == 0:
            progress(history.share())
        yield record


def story_of(header: r.Header, records: Iterable[r.Record]) -> Story:
    """The story that these records tell.

    Raises:
        HistoryError: one refers to what is not there.
    """
    loader = _Loader(header)
    number = 0
    try:
        for record in records:
            number += 1
            loader.take(record)
    except (LookupError, ValueError, OverflowError, struct.error) as error:
        raise HistoryError(f"record {number} does not fit those before it: {error}") from None
    loader.story.records = number
    loader.story.ended_at = loader.now
    return loader.story


class _Loader:
    """Takes one record after the other."""

    def __init__(self, header: r.Header) -> None:
        self.story = Story(header)
        self.now = 0
        self._keys: dict[tuple[int, int, str], int] = {}
        # A kind is taken by the method of its name.
        self._takers: dict[type[r.Record], Callable[[r.Record], None]] = {
            kind: getattr(self, f"_{name.replace('.', '_')}") for name, kind in r.KINDS.items()
        }
        self._frame_appends = _appends_of_frames(self.story)

    def take(self, record: r.Record) -> None:
        """Take the next record."""
        self._takers[type(record)](record)

    def _advance(self, after_ns: int) -> int:
        if after_ns < 0:
            raise ValueError("time goes back")
        self.now += after_ns
        return self.now

    # ── names ────────────────────────────────────────────────────────────────────────────────

    def _user(self, record: r.Named) -> None:
        _require_next(record.number, self.story.users)
        self.story.users.append(User(record.user_id, record.base))

    def _conversation(self, record: r.Begun) -> None:
        _require_next(record.number, self.story.conversations)
        _require_known(record.one, self.story.users)
        _require_known(record.other, self.story.users)
        self.story.conversations.append(
            Conversation(record.conversation_id, (record.one, record.other), record.is_new)
        )

    def _content(self, record: r.Content) -> None:
        _require_next(record.number, self.story.contents)
        digest = bytes.fromhex(record.sha256)
        if len(digest) != SHA256_BYTES:
            raise ValueError("a content is told by 32 bytes in hex")
        self.story.contents.append(digest)

    # ── connections ──────────────────────────────────────────────────────────────────────────

    def _connected(self, record: r.Connected) -> None:
        now = self._advance(record.after_ns)
        _require_next(record.connection, self.story.connections)
        _require_known(record.user, self.story.users)
        self.story.connections.append(
            Connection(
                record.user,
                record.device,
                record.subprotocol,
                record.epoch,
                record.head,
                now - record.took_ns,
                now,
            )
        )

    def _resume(self, record: r.Resume) -> None:
        now = self._advance(record.after_ns)
        connection = self._connection(record.connection)
        connection.asked.append(Asked(now, record.cursor, record.is_final, len(connection.rows)))

    def _resumed(self, record: r.Resumed) -> None:
        now = self._advance(record.after_ns)
        connection = self._connection(record.connection)
        good = [one for one in connection.asked if not one.was_refused]
        if not good:
            raise ValueError("a resume is complete that was not asked for")
        good[0].completed.append((now, record.global_inbox_seq, len(connection.rows)))

    def _in(self, record: r.Frames) -> None:
        now = self._advance(record.after_ns)
        rows, frames = self._connection(record.connection).rows, self.story.frames
        conversations = len(self.story.conversations)
        at, on, *columns = self._frame_appends
        number, previous, conversation, seq, received, payload, chain, raw = columns
        for frame in record.frames:
            if not 0 <= frame.conversation < conversations:
                raise LookupError("a frame of a conversation without a name")
            rows.append(len(frames.at))
            at(now)
            on(record.connection)
            number(frame.global_inbox_seq)
            previous(frame.previous)
            conversation(frame.conversation)
            seq(frame.server_seq)
            received(frame.received_ms)
            payload(frame.payload)
            chain(frame.chain)
            raw(frame.raw)

    def _closed(self, record: r.Closed) -> None:
        now = self._advance(record.after_ns)
        connection = self._connection(record.connection)
        connection.closed = record.code
        if record.code is not None:
            self.story.closes.append((now, record.connection, record.code))

    def _refused(self, record: r.Refused) -> None:
        now = self._advance(record.after_ns)
        _require_known(record.user, self.story.users)
        self.story.http_refusals.append(HttpRefusal(now, record.user, record.status, record.code))

    # ── sends ────────────────────────────────────────────────────────────────────────────────

    def _send(self, record: r.Send) -> None:
        now = self._advance(record.after_ns)
        story, offers = self.story, self.story.offers
        sender = self._connection(record.connection).user
        _require_known(record.conversation, story.conversations)
        _require_known(record.content, story.contents)
        key = record.message_id if record.key is None else record.key
        offer = len(offers.conversation)
        offers.conversation.append(record.conversation)
        offers.sender.append(sender)
        offers.content.append(record.content)
        offers.created_ms.append(record.created_ms)
        offers.key.append(
            self._keys.setdefault((sender, record.conversation, key), len(self._keys))
        )
        offers.message_ids.append(record.message_id)
        offers.key_texts.append(key)
        offers.content_types.append(record.content_type)
        mark = payload_mark(
            story.conversations[record.conversation].conversation_id,
            story.payload_of_offer(offer),
        )
        offers.payload.append(mark)
        # Offered in the same words by a record of its own: the envelope is the same.
        first = story.offer_of_payload.setdefault(mark, offer)
        self._attempt(now, record.attempt, record.connection, first, record.late_ns)

    def _again(self, record: r.Again) -> None:
        now = self._advance(record.after_ns)
        _require_known(record.of, self.story.attempts.at)
        offer = self.story.attempts.offer[record.of]
        if self._connection(record.connection).user != self.story.offers.sender[offer]:
            raise ValueError("another user offers the same envelope")
        self._attempt(now, record.attempt, record.connection, offer, 0)

    def _ok(self, record: r.Ok) -> None:
        now = self._advance(record.after_ns)
        attempts, number = self.story.attempts, record.attempt
        self._settle(now, number, Outcome.OK)
        attempts.server_seq[number] = record.server_seq
        attempts.received_ms[number] = record.received_ms
        attempts.chain[number] = record.chain
        attempts.raw[number] = record.raw

    def _fail(self, record: r.Fail) -> None:
        now = self._advance(record.after_ns)
        self._settle(now, record.attempt, Outcome.FAIL)
        self.story.refusals.append(
            Refusal(
                now,
                f"attempt {record.attempt}",
                record.code,
                record.action,
                record.retry_after_ms,
                record.message,
            )
        )

    def _info(self, record: r.Info) -> None:
        self._settle(self._advance(record.after_ns), record.attempt, Outcome.INFO)

    # ── read positions, other errors ─────────────────────────────────────────────────────────

    def _read(self, record: r.Read) -> None:
        now = self._advance(record.after_ns)
        _require_next(record.read, self.story.reads)
        _require_known(record.conversation, self.story.conversations)
        reader = self._connection(record.connection).user
        self.story.reads.append(
            ReadAsked(
                now,
                record.connection,
                reader,
                record.conversation,
                record.server_seq,
                record.private,
            )
        )

    def _read_ok(self, record: r.ReadOk) -> None:
        _require_known(record.read, self.story.reads)
        read = self.story.reads[record.read]
        read.answered_at, read.answer = self._advance(record.after_ns), record.server_seq

    def _position(self, record: r.Position) -> None:
        now = self._advance(record.after_ns)
        _require_known(record.connection, self.story.connections)
        _require_known(record.conversation, self.story.conversations)
        _require_known(record.reader, self.story.users)
        self.story.positions.append(
            PositionSeen(
                now, record.connection, record.conversation, record.reader, record.server_seq
            )
        )

    def _error(self, record: r.Error) -> None:
        now = self._advance(record.after_ns)
        connection = self._connection(record.connection)
        self.story.refusals.append(
            Refusal(
                now,
                f"connection {record.connection}",
                record.code,
                record.action,
                record.retry_after_ms,
                record.message,
            )
        )
        if record.about == "ksmpv3.resume":
            self._refuse_resume(now, record)
        if record.truncated_through is not None:
            connection.jumps.append((len(connection.rows), record.truncated_through))

    def _refuse_resume(self, now: int, record: r.Error) -> None:
        """Resumes are answered in order; only `already_resumed` leaves the one before it good."""
        pending = [one for one in self._connection(record.connection).asked if not one.was_refused]
        if not pending:
            raise ValueError("a resume is refused that was not asked for")
        asked = pending[-1] if record.code == "already_resumed" else pending[0]
        asked.was_refused = True
        self.story.cursors_refused.append(
            CursorRefused(now, record.connection, asked.cursor, record.code)
        )

    # ── the world ────────────────────────────────────────────────────────────────────────────

    def _down(self, record: r.Down) -> None:
        self.story.downs.append((self._advance(record.after_ns), record.how))

    def _up(self, record: r.Up) -> None:
        self.story.ups.append(self._advance(record.after_ns))

    def _begin(self, record: r.Begin) -> None:
        now = self._advance(record.after_ns)
        for victim in record.victims:
            _require_known(victim, self.story.conversations)
        self.story.windows[record.window] = Window(
            record.kind, now, frozenset(record.victims), record.sync_ms
        )

    def _end(self, record: r.End) -> None:
        self.story.windows[record.window].ended_at = self._advance(record.after_ns)

    def _head(self, record: r.Head) -> None:
        self._advance(record.after_ns)
        _require_known(record.conversation, self.story.conversations)
        self.story.heads[record.conversation] = record.server_seq

    def _over(self, record: r.Over) -> None:
        self._advance(record.after_ns)
        self.story.is_whole = True

    # ── what several share ───────────────────────────────────────────────────────────────────

    def _connection(self, number: int) -> Connection:
        _require_known(number, self.story.connections)
        return self.story.connections[number]

    def _attempt(self, now: int, number: int, connection: int, offer: int, late_ns: int) -> None:
        attempts = self.story.attempts
        _require_next(number, attempts.at)
        attempts.at.append(now)
        attempts.late.append(late_ns)
        attempts.connection.append(connection)
        attempts.offer.append(offer)
        attempts.settled_at.append(-1)
        attempts.outcome.append(Outcome.NONE)
        attempts.server_seq.append(0)
        attempts.received_ms.append(0)
        attempts.chain.append(0)
        attempts.raw.append(0)

    def _settle(self, now: int, number: int, outcome: Outcome) -> None:
        attempts = self.story.attempts
        _require_known(number, attempts.at)
        if attempts.outcome[number] != Outcome.NONE:
            raise ValueError(f"attempt {number} ended before")
        attempts.outcome[number] = outcome
        attempts.settled_at[number] = now


def _appends_of_frames(story: Story) -> tuple[Callable[[int], None], ...]:
    """Looked up once: there are millions of frames."""
    frames = story.frames
    return (
        frames.at.append,
        frames.connection.append,
        frames.global_inbox_seq.append,
        frames.previous.append,
        frames.conversation.append,
        frames.server_seq.append,
        frames.received_ms.append,
        frames.payload.append,
        frames.chain.append,
        frames.raw.append,
    )


def _require_next(number: int, table: Sized) -> None:
    if number != len(table):
        raise LookupError(f"{number} is not the next number")


def _require_known(number: int, table: Sized) -> None:
    if not 0 <= number < len(table):
        raise LookupError(f"there is no {number} yet")
