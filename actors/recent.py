"""The last records of the inboxes that someone is reading, encoded, so that live costs no read.

One cache for all, bounded by bytes, oldest out first. It is only ever a shortcut: a deliverer
that does not find the next record here reads the log.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from ksmp.codec import Codec
from ksmp.types import GlobalInboxSeq, UserId
from storage.log import InboxPlace, NewRecord

ENTRY_OVERHEAD_BYTES: Final = 400
"""What an entry costs beside the record's bytes: the objects, measured roughly."""


class RecentRecord:
    """One record in one inbox; its frame is encoded once per subprotocol, for all devices."""

    __slots__ = ("_binary", "_place", "_record", "_text", "global_inbox_seq")

    def __init__(self, place: InboxPlace, record: NewRecord) -> None:
        self._place = place
        self._record = record
        self._binary: bytes | None = None
        self._text: bytes | None = None
        self.global_inbox_seq: GlobalInboxSeq = place.global_inbox_seq

    @property
    def size(self) -> int:
        """About how many bytes it keeps: the record, and a frame for each subprotocol."""
        return ENTRY_OVERHEAD_BYTES + 3 * len(self._record.recorded)

    def frame(self, codec: Codec) -> bytes:
        """The `InboxFrame`, the same bytes as if it had been read from the log."""
        frame = self._text if codec.is_text else self._binary
        if frame is None:
            record = self._record
            frame = codec.encode_inbox_frame(*self._place, record.recorded, record.chain)
            if codec.is_text:
                self._text = frame
            else:
                self._binary = frame
        return frame


class RecentRecords:
    """Finds the record that follows a cursor, if it is among the most recent ones."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._after: dict[tuple[UserId, GlobalInboxSeq], RecentRecord] = {}
        self._order: deque[tuple[UserId, GlobalInboxSeq]] = deque()  # its keys, the oldest first

    def adopt(self, max_bytes: int) -> None:
        """Keep no more than this from the next record on."""
        self._max_bytes = max_bytes

    def add(self, user: UserId, place: InboxPlace, record: NewRecord) -> None:
        """Keep `record` at `place` of the user's inbox, and let the oldest go."""
        recent = RecentRecord(place, record)
        key = (user, place.previous_global_inbox_seq)
        self._after[key] = recent
        self._order.append(key)
        self._bytes += recent.size
        while self._bytes > self._max_bytes:
            self._bytes -= self._after.pop(self._order.popleft()).size

    def after(self, user: UserId, cursor: GlobalInboxSeq) -> RecentRecord | None:
        """The record whose predecessor in the user's inbox is the one at `cursor`."""
        return self._after.get((user, cursor))
