"""Delivering an inbox to one connection: a cursor that moves over the log.

Replay and live are one path. Whatever the cursor has not passed is sent in order, from the recent
records where they are, from the log where they are not, and never beyond the published head. A
slow reader therefore costs no memory: its frames wait in the log.

`advance` does all that can be done at once and says what stands in the way of more:

    NOTHING   the connection has everything
    ROOM      the outward queue is at its limit
    PAGE      the next records must be read from the log         ┐ `fetch` does these, and
    READS     the read positions since the cursor must be read   ┘ `advance` goes on
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum, auto
from typing import Final, NamedTuple

from actors.inboxes import Inbox
from actors.recent import RecentRecords
from actors.telemetry import Telemetry, hashed
from actors.traffic import Traffic
from actors.transport import Transport
from ksmp.codec import Codec
from ksmp.errors import error
from ksmp.events import InboxFrame, Read, ResumeComplete
from ksmp.types import GlobalInboxSeq, UserId, conversation_key
from storage.failpoints import Failpoint
from storage.fault_orders import Letter
from storage.log import InboxPlace, Log, NewRecord

PAGE_BYTES: Final = 64 * 1024
READ_STATES_PER_PAGE: Final = 64


class Need(Enum):
    """What `Delivery.advance` waits for."""

    NOTHING = auto()
    ROOM = auto()
    PAGE = auto()
    READS = auto()


class Delivery:
    """Owns one connection's cursor. One task at a time advances and fetches."""

    def __init__(
        self,
        inbox: Inbox,
        recent: RecentRecords,
        log: Log,
        codec: Codec,
        transport: Transport,
        outbound_bytes: int,
        telemetry: Telemetry,
        traffic: Traffic,
        failpoint: Failpoint | None = None,
    ) -> None:
        self._inbox = inbox
        self._recent = recent
        self._log = log
        self._codec = codec
        self._transport = transport
        self._outbound_bytes = outbound_bytes
        self._telemetry = telemetry
        self._traffic = traffic
        self._failpoint = failpoint
        self._cursor = GlobalInboxSeq(0)
        self._target: GlobalInboxSeq | None = None  # the head as it was when the resume arrived
        self._reads: _ReadsToSend | None = None
        self.is_resumed = False
        self.records_sent = 0

    def resume(self, cursor: GlobalInboxSeq) -> None:
        """Send everything after `cursor`, which is at most the head, then go on live."""
        self.is_resumed = True
        self._cursor = cursor
        self._target = self._inbox.head
        self._reads = _ReadsToSend(cursor, None)

    def resume_from_now_on(self) -> None:
        """Send what comes after the present head."""
        self.is_resumed = True
        self._cursor = self._target = self._inbox.head

    def tell_read(self, read: Read) -> None:
        """Send a read position at once or, without room, from the log when there is room."""
        if self._transport.queued_bytes < self._outbound_bytes:
            self._transport.send(self._codec.encode(read))
        else:
            self._read_again_from(self._inbox.head)

    def offer(self, places: Sequence[InboxPlace], records: Sequence[NewRecord]) -> bool:
        """Send records at the moment of their commit, if the cursor stands where they begin.

        False: not all of them were sent, and `advance` will find them where it finds all others.
        """
        if self._target is not None or self._cursor != places[0].previous_global_inbox_seq:
            return False
        for place, record in zip(places, records, strict=True):
            if self._transport.queued_bytes >= self._outbound_bytes:
                return False
            frame = self._codec.encode_inbox_frame(*place, record.recorded, record.chain)
            self._send_frame(frame, place.global_inbox_seq)
        return True

    def advance(self) -> Need:
        """Send what can be sent without waiting."""
        if not self.is_resumed:
            return Need.NOTHING
        user: UserId = self._inbox.user
        while True:
            if self._transport.queued_bytes >= self._outbound_bytes:
                return Need.ROOM
            if self._cursor < self._goal:
                record = self._recent.after(user, self._cursor)
                if record is None:
                    return Need.PAGE
                self._send_frame(record.frame(self._codec), record.global_inbox_seq)
            elif self._reads is not None:
                return Need.READS
            elif self._target is not None:
                self._transport.send(self._codec.encode(ResumeComplete(self._target)))
                self._target = None
            else:
                return Need.NOTHING

    @property
    def is_catching_up(self) -> bool:
        """Whether something is still to be sent that was there when the resume arrived."""
        return self._target is not None

    @property
    def _goal(self) -> GlobalInboxSeq:
        """How far to deliver now: to the published head, or first to where the resume found it."""
        return self._inbox.head if self._target is None else self._target

    async def fetch(self, need: Need) -> None:
        """Read one page of what `advance` lacked, and send it.

        Raises:
            StorageError: the store cannot be read.
        """
        match need:
            case Need.PAGE:
                await self._fetch_records()
            case Need.READS:
                await self._fetch_read_states()
            case _:
                raise AssertionError(f"there is nothing to fetch for {need}")

    async def _fetch_records(self) -> None:
        room = max(1, self._outbound_bytes - self._transport.queued_bytes)
        page = await self._log.page(
            self._inbox.user, self._cursor, self._goal, min(PAGE_BYTES, room)
        )
        if self._cursor < page.truncated_through:
            # Retention has overtaken the cursor. Never silently: the client is told first.
            notice = error("replay_truncated", truncated_through=page.truncated_through)
            self._transport.send(self._codec.encode(notice))
            self._cursor = page.truncated_through
        elif not page.rows:
            raise AssertionError("the log has no page below the head that it told")
        for row in page.rows:
            self._send_frame(self._codec.encode_inbox_frame(*row), row.global_inbox_seq)

    def _send_frame(self, frame: bytes, global_inbox_seq: GlobalInboxSeq) -> None:
        self._cursor = global_inbox_seq
        if self._failpoint is not None and self._failpoint.hit(lambda: self._letters(frame)):
            return
        self._transport.send(frame)
        self.records_sent += 1
        self._traffic.frames += 1
        self._traffic.frames_bytes += len(frame)
        if self._telemetry.is_debug:
            self._telemetry.debug(
                "frame.delivered",
                user=hashed("user", self._inbox.user),
                global_inbox_seq=global_inbox_seq,
                bytes=len(frame),
            )

    def _letters(self, frame: bytes) -> Iterator[Letter]:
        """Whose record is in `frame`, for a laboratory."""
        match self._codec.decode_server_event(frame):
            case InboxFrame(envelope=sent):
                key = conversation_key(
                    sent.conversation_id, sent.sender_user_id, sent.recipient_user_id
                )
                yield Letter(key, sent.idempotency_key)

    async def _fetch_read_states(self) -> None:
        reads = self._take_reads()
        page = await self._log.read_states(
            self._inbox.user, reads.stored_from, reads.after, READ_STATES_PER_PAGE
        )
        for state in page.states:
            key = state.conversation
            peer = key.high if state.reader == key.low else key.low
            read = Read(key.conversation_id, state.reader, peer, *state.position)
            self._transport.send(self._codec.encode(read))
        if page.next is None:
            return
        if self._reads is None:
            self._reads = _ReadsToSend(reads.stored_from, page.next)
        else:  # `tell_read` found no room meanwhile, maybe for one that this scan has passed
            self._read_again_from(reads.stored_from)

    def _take_reads(self) -> _ReadsToSend:
        """What is to be read, taken off the list so that `tell_read` can ask for more."""
        reads, self._reads = self._reads, None
        assert reads is not None, "fetched only when advance asks for it"
        return reads

    def _read_again_from(self, stored_from: GlobalInboxSeq) -> None:
        if self._reads is not None:
            stored_from = min(stored_from, self._reads.stored_from)
        self._reads = _ReadsToSend(stored_from, None)


class _ReadsToSend(NamedTuple):
    """Which read positions are still to be sent, and how far that has come."""

    stored_from: GlobalInboxSeq
    after: bytes | None
