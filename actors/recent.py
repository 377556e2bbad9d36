"""The last records of the inboxes that someone is reading, encoded, so that live costs no read.

One cache for all, bounded by bytes, oldest out first. It is only ever a shortcut: a deliverer
that does not find the next record here reads the log.
"""

from __future__ import annotations

from collections import OrderedDict

from ksmp.codec import Codec
from ksmp.types import GlobalInboxSeq, UserId
from storage.log import InboxPlace, NewRecord

ENTRY_OVERHEAD_BYTES = 400
"""What an entry costs beside the record's bytes: the objects, measured roughly."""


class RecentRecord:
    """One record in one inbox; its frame is encoded once per subprotocol, for all devices."""

    __slots__ = ("_frames", "_place", "_record")

    def __init__(self, place: InboxPlace, record: NewRecord) -> None:
        self._place = place
        self._record = record
        self._frames: dict[str, bytes] = {}

    @property
    def global_inbox_seq(self) -> GlobalInboxSeq:
        """Its number in the inbox."""
        return self._place.global_inbox_seq

    def frame(self, codec: Codec) -> bytes:
        """The `InboxFrame`, the same bytes as if it had been read from the log."""
        frame = self._frames.get(codec.subprotocol)
        if frame is None:
            frame = codec.encode_inbox_frame(
                *self._place, self._record.recorded, self._record.chain
            )
            self._frames[codec.subprotocol] = frame
        return frame


class RecentRecords:
    """Finds the record that follows a cursor, if it is among the most recent ones."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._after: OrderedDict[tuple[UserId, GlobalInboxSeq], tuple[RecentRecord, int]] = (
            OrderedDict()
        )

    def add(self, user: UserId, place: InboxPlace, record: NewRecord) -> None:
        """Keep `record` at `place` of the user's inbox, and let the oldest go."""
        size = ENTRY_OVERHEAD_BYTES + 3 * len(record.recorded)  # itself, and a frame per codec
        self._after[user, place.previous_global_inbox_seq] = RecentRecord(place, record), size
        self._bytes += size
        while self._bytes > self._max_bytes:
            _, (_, size) = self._after.popitem(last=False)
            self._bytes -= size

    def after(self, user: UserId, cursor: GlobalInboxSeq) -> RecentRecord | None:
        """The record whose predecessor in the user's inbox is the one at `cursor`."""
        found = self._after.get((user, cursor))
        return found[0] if found is not None else None
