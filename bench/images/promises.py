"""What the store has promised by a moment of a recording, and whether its rows keep it.

A record that was acknowledged, or whose number a head has told, is there for ever, with the same
bytes. The chain value of a record vouches for all records before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from bench.images.marks import Appended, Found, Mark, Marked, Offered, Opened
from ksmp.chain import chain_base
from ksmp.types import ConversationKey
from storage.keys import (
    Marks,
    pack_pair,
    pack_side,
    parse_conversation_name,
    side_of,
    unpack_conversation,
    unpack_marks,
    unpack_number,
    unpack_pair,
    unpack_record,
)

Content = Mapping[bytes, Mapping[bytes, bytes]]
"""Of every table its rows."""


_Numbers = Mapping[ConversationKey, int]


class _Offer(NamedTuple):
    """A record that may be in the log."""

    server_seq: int
    row: bytes
    before: bytes
    """The chain value of the record before it."""


class BrokenPromiseError(Exception):
    """The recorded process itself was told what contradicts an earlier promise."""


class Promises:
    """Takes marks in order; `broken` holds rows to all that they promise."""

    def __init__(self) -> None:
        self.epoch: str | None = None
        self._offers: dict[bytes, _Offer] = {}  # by chain value
        self._heads: dict[ConversationKey, bytes] = {}  # chain values
        self._records: dict[ConversationKey, dict[int, bytes]] = {}
        self._places: dict[tuple[str, int], tuple[ConversationKey, int]] = {}
        self._reads: dict[tuple[ConversationKey, str], tuple[int, int]] = {}

    @property
    def conversations(self) -> Mapping[ConversationKey, int]:
        """Those of which something is promised, with the number of the last such record."""
        return {key: len(records) for key, records in self._records.items()}

    def take(self, mark: Mark) -> None:
        """From now on, this is promised as well.

        Raises:
            BrokenPromiseError: it contradicts what was promised before.
        """
        match mark:
            case Opened(epoch):
                if self.epoch not in (None, epoch):
                    raise BrokenPromiseError("the store was opened with another epoch")
                self.epoch = epoch
            case Offered(_, before, records):
                for seq, row in sorted(records.items()):
                    chain, _ = unpack_record(row)
                    self._offers[chain] = _Offer(seq, row, before)
                    before = chain
            case Found(key, seq, chain):
                self._promise(key, seq, chain)
            case Appended(key, seq, chain, places):
                self._promise(key, seq, chain)
                for user, rows in places.items():
                    self._places |= {(user, number): (key, seq) for number, seq in rows.items()}
            case Marked(key, reader, own, public):
                before_own, before_public = self._reads.get((key, reader), (0, 0))
                if own < before_own or public < before_public:
                    raise BrokenPromiseError("a read position went back")
                self._reads[key, reader] = own, public

    def _promise(self, key: ConversationKey, seq: int, chain: bytes) -> None:
        """All records of the conversation up to this one are promised."""
        promised = self._records.get(key, {})
        head = self._heads.get(key, chain_base(*key))
        new: dict[int, bytes] = {}
        at = chain
        while at != head:
            offer = self._offers.get(at)
            if offer is None or offer.server_seq <= len(promised):
                raise BrokenPromiseError(f"a conversation of {len(promised)} has another past")
            new[offer.server_seq] = offer.row
            at = offer.before
        if len(promised) + len(new) != seq:
            raise BrokenPromiseError(f"a conversation of {len(promised)} goes on with {seq}")
        if new:
            self._records[key] = promised | dict(sorted(new.items()))
            self._heads[key] = chain

    # ── whether it is kept ───────────────────────────────────────────────────────────────────

    def broken(self, rows: Content) -> Iterator[str]:
        """What is not as promised in a store with these rows; they agree with each other."""
        numbers = {
            parse_conversation_name(name): unpack_conversation(row).conversation
            for name, row in rows[b"conversations"].items()
        }
        yield from self._broken_records(rows, numbers)
        yield from self._broken_places(rows, numbers)
        yield from self._broken_reads(rows, numbers)

    def _broken_records(self, rows: Content, numbers: _Numbers) -> Iterator[str]:
        log = rows[b"log"]
        for key, records in self._records.items():
            number = numbers.get(key)
            if number is None:
                yield f"lost: a conversation of {len(records)} records"
                continue
            for seq, row in records.items():
                found = log.get(pack_pair(number, seq))
                if found != row:
                    what = "lost" if found is None else "changed"
                    yield f"{what}: record {seq} of conversation {number}"
        for place, row in log.items():
            chain, _ = unpack_record(row)
            offer = self._offers.get(chain)
            if offer is None or offer.row != row:
                number, seq = unpack_pair(place)
                yield f"invented: record {seq} of conversation {number}"

    def _broken_places(self, rows: Content, numbers: _Numbers) -> Iterator[str]:
        users = {name.decode(): row for name, row in rows[b"users"].items()}
        inbox = rows[b"inbox"]
        for (user, seq), (key, record) in self._places.items():
            if user not in users or key not in numbers:
                yield f"lost: row {seq} of an inbox"
                continue
            row = inbox.get(pack_pair(unpack_number(users[user]), seq))
            if row != pack_pair(numbers[key], record):
                yield f"lost or changed: row {seq} of inbox {unpack_number(users[user])}"

    def _broken_reads(self, rows: Content, numbers: _Numbers) -> Iterator[str]:
        for (key, reader), promised in self._reads.items():
            side = side_of(key, reader)  # type: ignore[arg-type]
            row = rows[b"reads"].get(pack_side(numbers.get(key, 0), side))
            own, public = unpack_marks(row) if row else Marks()
            if own.server_seq < promised[0] or public.server_seq < promised[1]:
                yield f"lost: a read position of conversation {numbers.get(key)}"
