"""What must be true, in lists and dictionaries: too simple to be wrong, which is what it is for.

A record's place in an inbox is known as a range: records that were under way together may come in
either order. Where only one was, the range is one number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.wire.chain import chain_base, chain_next
from tests.wire.codecs import Event


class Disagreement(AssertionError):
    """The relay and the model say different things."""


def require(holds: bool, what: object) -> None:
    """Raise `Disagreement` unless it holds."""
    if not holds:
        raise Disagreement(what)


class Talk(NamedTuple):
    """A conversation: its id and its two participants in order."""

    name: str
    low: str
    high: str

    @property
    def users(self) -> tuple[str, ...]:
        """Each participant once."""
        return (self.low,) if self.low == self.high else (self.low, self.high)

    def peer_of(self, user: str) -> str:
        """The other participant, or oneself."""
        return self.high if user == self.low else self.low


def talk_of(name: str, one: str, other: str) -> Talk:
    """The conversation of these two users under this id."""
    return Talk(name, *sorted((one, other)))


def talk_of_envelope(envelope: Event) -> Talk:
    """The conversation an envelope belongs to."""
    return talk_of(
        envelope["conversationId"], envelope["senderUserId"], envelope["recipientUserId"]
    )


class Place(NamedTuple):
    """Where something stands in an inbox, at least and at most."""

    low: int
    high: int


class Facts(NamedTuple):
    """What the relay decided about a record; `received_at` is its clock's and taken from it."""

    server_seq: int
    received_at: int


@dataclass(frozen=True)
class Record:
    """An envelope with its number, its time, its chain value and its places."""

    envelope: Event
    facts: Facts
    chain: bytes
    places: Mapping[str, Place]

    def recorded(self) -> Event:
        """The envelope as delivered, in the protocol's order."""
        fields = dict(self.envelope)
        key = fields.pop("idempotencyKey")
        seq, at = self.facts
        return fields | {"serverSeq": seq, "serverReceivedAtMs": at, "idempotencyKey": key}

    def ack(self) -> Event:
        """The only acknowledgement there is of it."""
        envelope = self.envelope
        names = ("conversationId", "recipientUserId", "messageId", "idempotencyKey")
        seq, at = self.facts
        return (
            {"type": "ksmpv3.send.ack"}
            | {name: envelope[name] for name in names}
            | {"serverSeq": seq, "serverReceivedAtMs": at, "chain": self.chain}
        )

    def frame(self, number: int) -> Event:
        """The only frame there is of it under this number of an inbox that counts 1, 2, 3 …"""
        return {
            "type": "ksmpv3.inbox.frame",
            "globalInboxSeq": number,
            "previousGlobalInboxSeq": number - 1,
            "envelope": self.recorded(),
            "chain": self.chain,
        }


NOWHERE = Place(0, 0)


@dataclass
class Mark:
    """A read maximum, the head of the inbox that sees it as it was then, all values it had."""

    seq: int = 0
    stored_at: Place = NOWHERE
    history: set[int] = field(default_factory=set)

    def raise_to(self, seq: int, stored_at: Place) -> bool:
        """Move up, never down; whether it moved."""
        if seq <= self.seq:
            return False
        self.seq = seq
        self.stored_at = stored_at
        self.history.add(seq)
        return True


class Reader(NamedTuple):
    """Who has read what, and whether as seen by their own devices or by the peer's."""

    talk: Talk
    reader: str
    is_own: bool


class Ledger:
    """Everything the relay has promised so far."""

    def __init__(self) -> None:
        self.records: dict[Talk, list[Record]] = {}
        self.keys: dict[tuple[str, Talk, str], Record] = {}
        self.heads: dict[str, int] = {}
        self.marks: dict[Reader, Mark] = {}

    def head(self, talk: Talk) -> int:
        """The last number of a conversation."""
        return len(self.records.get(talk, ()))

    def inbox_head(self, user: str) -> int:
        """The last number of an inbox."""
        return self.heads.get(user, 0)

    def known(self, envelope: Event) -> Record | None:
        """The record that used the envelope's idempotency key first."""
        return self.keys.get(_key(envelope))

    def commit(self, stored: Iterable[tuple[Event, Facts]]) -> None:
        """These were stored since the last call: each conversation goes on 1, 2, 3 …"""
        in_order = sorted(stored, key=lambda one: one[1].server_seq)
        before = dict(self.heads)
        for envelope, _ in in_order:
            for user in talk_of_envelope(envelope).users:
                self.heads[user] = self.inbox_head(user) + 1
        for envelope, facts in in_order:
            talk = talk_of_envelope(envelope)
            places = {user: Place(before.get(user, 0) + 1, self.heads[user]) for user in talk.users}
            self._append(talk, envelope, facts, places)

    def _append(
        self, talk: Talk, envelope: Event, facts: Facts, places: Mapping[str, Place]
    ) -> None:
        records = self.records.setdefault(talk, [])
        require(
            facts.server_seq == len(records) + 1,
            f"{talk} goes on after {len(records)} with {facts.server_seq}",
        )
        require(self.known(envelope) is None, f"a second record of the key in {envelope}")
        before = records[-1].chain if records else chain_base(*talk)
        record = Record(envelope, facts, b"", places)
        chain = chain_next(before, record.recorded())
        record = Record(envelope, facts, chain, places)
        records.append(record)
        self.keys[_key(envelope)] = record

    # ── reads ────────────────────────────────────────────────────────────────────────────────

    def mark(self, reader: Reader) -> Mark:
        """The maximum that is seen of `reader`."""
        return self.marks.setdefault(reader, Mark())

    def would_rise(self, talk: Talk, user: str, seq: int, *, private: bool) -> bool:
        """Whether a mark changes anything that is stored."""
        own, public = (self.mark(Reader(talk, user, is_own)).seq for is_own in (True, False))
        return seq > own or (seq > public and not private)

    def rise(
        self, talk: Talk, user: str, seq: int, *, private: bool, before: Mapping[str, int]
    ) -> list[tuple[str, Reader]]:
        """`user` has read up to `seq`; who is to be told what. `before` are earlier heads."""
        told = []
        for viewer, is_own in ((user, True), (talk.peer_of(user), False)):
            stored_at = Place(before.get(viewer, 0), self.inbox_head(viewer))
            reader = Reader(talk, user, is_own)
            rises = (is_own or not private) and self.mark(reader).raise_to(seq, stored_at)
            if rises and (is_own or viewer != user):  # to oneself only the own maximum is shown
                told.append((viewer, reader))
        return told

    def visible_to(self, user: str) -> list[tuple[Reader, Mark]]:
        """Every maximum that this user's devices may see."""
        return [
            (reader, mark)
            for reader, mark in self.marks.items()
            if user in reader.talk.users and mark.seq and reader.is_own == (user == reader.reader)
        ]


def _key(envelope: Event) -> tuple[str, Talk, str]:
    return envelope["senderUserId"], talk_of_envelope(envelope), envelope["idempotencyKey"]
