"""A client's device: it knows only what it was sent, and holds every frame against the ledger.

The client's whole rule is followed to the letter: what comes after the cursor, once, in order,
without a gap; and stricter, since the model knows the numbers.
"""

from __future__ import annotations

from tests.model.ledger import Ledger, Reader, Talk, require, talk_of, talk_of_envelope
from tests.model.process import Line
from tests.wire.codecs import JSON, Codec, Event

Frames = dict[tuple[str, str, int], bytes]
"""(user, subprotocol, number) → the bytes of the frame when it was first seen, by any device."""

Acks = dict[tuple[str, Talk, str, str], bytes]
"""(sender, conversation, key, subprotocol) → the bytes of the first ack."""


class Device:
    """One device of one user, connected or not. Its cursor outlives connections and processes."""

    def __init__(self, user: str, name: str, frames: Frames, acks: Acks) -> None:
        self.user = user
        self.name = name
        self.cursor = 0
        self.codec: Codec = JSON
        self.line: Line | None = None
        self.is_resumed = False
        self.is_stalled = False
        self.answers: list[Event] = []
        self._frames = frames
        self._acks = acks
        self._to_absorb: list[tuple[Event, bytes]] = []
        self._completes_at: int | None = None
        self._owed: dict[Reader, int] = {}
        self._heard: dict[Reader, int] = {}
        self._read_times: dict[tuple[Reader, int], int] = {}

    @property
    def is_connected(self) -> bool:
        """Whether it has a connection that has not ended."""
        return self.line is not None

    @property
    def can_ask(self) -> bool:
        """Whether it is connected and reads what it is sent."""
        return self.is_connected and not self.is_stalled

    def connected(self, line: Line, codec: Codec) -> None:
        """A new connection begins."""
        self.disconnected()
        self.line = line
        self.codec = codec
        self._completes_at = None

    def disconnected(self) -> None:
        """The connection has ended; what it brought is still to be absorbed."""
        self.line = None
        self.is_resumed = self.is_stalled = False
        self._owed = {}
        self._heard = {}

    def resumed(self, cursor: int, ledger: Ledger, *, with_reads: bool) -> None:
        """A good resume was sent: from `cursor`, replay up to the present head."""
        self.is_resumed = True
        self.cursor = cursor
        self._completes_at = ledger.inbox_head(self.user)
        if with_reads:
            for reader, mark in ledger.visible_to(self.user):
                if mark.stored_at.low >= cursor:
                    self.owe(reader, mark.seq)

    def owe(self, reader: Reader, seq: int) -> None:
        """The relay must tell this device of a read, if it is to be told at all."""
        if self.is_resumed:
            self._owed[reader] = seq

    # ── what arrives ─────────────────────────────────────────────────────────────────────────

    def tell(self, *events: Event) -> None:
        """Send events, in one read of the relay's."""
        assert self.line is not None
        encoded = [self.codec.encode(event) for event in events]
        self.line.arrive(*(one.encode() if isinstance(one, str) else one for one in encoded))

    def collect(self) -> None:
        """Take what has arrived: answers apart, the rest for `absorb`."""
        if self.line is None:
            return
        for raw in self.line.take_new():
            message = raw.decode() if self.codec is JSON else raw
            event = self.codec.decode(message)
            require(self.codec.canonical(event) == message, f"not canonical: {raw!r}")
            if event["type"] in ("ksmpv3.inbox.frame", "ksmpv3.read", "ksmpv3.resume.complete"):
                is_answer = event["type"] == "ksmpv3.read"
                require(self.is_resumed or is_answer, f"{self} has not resumed and gets {event}")
                self._to_absorb.append((event, raw))
            else:
                if event["type"] == "ksmpv3.send.ack":
                    self._compare_ack(event, raw)
                self.answers.append(event)

    def _compare_ack(self, ack: Event, raw: bytes) -> None:
        talk = talk_of(ack["conversationId"], self.user, ack["recipientUserId"])
        key = (self.user, talk, ack["idempotencyKey"], self.codec.subprotocol)
        require(self._acks.setdefault(key, raw) == raw, f"two different acks of {key}")

    def take_answers(self) -> list[Event]:
        """The answers that have come since the last call."""
        answers, self.answers = self.answers, []
        return answers

    def reads_in_waiting(self) -> list[Event]:
        """Read positions that have come and are not yet absorbed."""
        return [event for event, _ in self._to_absorb if event["type"] == "ksmpv3.read"]

    def absorb(self, ledger: Ledger) -> None:
        """Hold all that has come against what must be true now."""
        events, self._to_absorb = self._to_absorb, []
        for event, raw in events:
            match event["type"]:
                case "ksmpv3.inbox.frame":
                    self._take_frame(event, raw, ledger)
                case "ksmpv3.resume.complete":
                    self._complete(event, ledger)
                case _:
                    self._take_read(event, ledger)

    def _take_frame(self, frame: Event, raw: bytes, ledger: Ledger) -> None:
        number = frame["globalInboxSeq"]
        require(number == self.cursor + 1, f"{self} has {self.cursor} and gets {number}")
        talk = talk_of_envelope(frame["envelope"])
        seq = frame["envelope"]["serverSeq"]
        require(1 <= seq <= ledger.head(talk), f"{talk} has no record {seq}")
        record = ledger.records[talk][seq - 1]
        require(frame == record.frame(number), f"{frame} for {record}")
        require(self.user in record.places, f"{self.user} does not take part in {talk}")
        low, high = record.places[self.user]
        require(low <= number <= high, f"{number} for a record between {low} and {high}")
        place = (self.user, self.codec.subprotocol, number)
        require(self._frames.setdefault(place, raw) == raw, f"two different frames {place}")
        self.cursor = number

    def _complete(self, event: Event, ledger: Ledger) -> None:
        """Exactly one for each resume, at the head as it was when the resume arrived."""
        require(tuple(event) == ("type", "globalInboxSeq"), event)
        low = self._completes_at
        high = ledger.inbox_head(self.user)  # the head then, unless records were under way
        number = event["globalInboxSeq"]
        require(low is not None and low <= number <= high, f"{event}, not {low} to {high}")
        require(self.cursor == number, f"complete at {self.cursor}: {event}")
        self._completes_at = None

    def _take_read(self, event: Event, ledger: Ledger) -> None:
        """Never above what is true, never what is private to another, one time for each value."""
        fields = ("conversationId", "readerUserId", "peerUserId", "serverSeq", "readAtMs")
        require(tuple(event) == ("type", *fields), event)
        name, user, peer, seq, at = (event[field] for field in fields)
        reader = Reader(talk_of(name, user, peer), user, user == self.user)
        require(self.user in reader.talk.users, f"{self.user} hears of {event}")
        mark = ledger.mark(reader)
        require(seq in mark.history or seq == mark.seq, f"{event} where {mark} is true")
        require(self._read_times.setdefault((reader, seq), at) == at, f"another time: {event}")
        self._heard[reader] = max(self._heard.get(reader, 0), seq)

    # ── what must have arrived ───────────────────────────────────────────────────────────────

    def require_complete(self, ledger: Ledger) -> None:
        """A device that reads has everything by now."""
        if self.is_stalled or not self.is_resumed:
            return
        require(self._completes_at is None, f"{self} never heard that its resume was complete")
        head = ledger.inbox_head(self.user)
        require(self.cursor == head, f"{self} is at {self.cursor} and the head at {head}")
        for reader, seq in self._owed.items():
            heard = self._heard.get(reader, 0)
            require(heard >= seq, f"{self} heard {heard} of {reader}, not {seq}")

    def __repr__(self) -> str:
        return f"{self.user}'s {self.name}"
