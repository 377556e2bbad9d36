"""A relay that keeps every promise, on paper: it tells a history that nothing is wrong with.

Time is made up, and so is chance, from a seed. Whatever a history can hold happens in it: retries
over restarts, refusals, unknown outcomes, reads, both subprotocols, clocks that go back, a fault
beside a baseline. What the relay holds is in plain lists, as in no relay.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from bench.checker.digests import Envelope, chain_after, chain_base, payload_of
from bench.checker.reading import opened
from bench.checker.records import Frame, Header, Record
from bench.history import Recorder

MS = 1_000_000
WALL_NS = 1_790_000_000_000 * MS
USERS = ("ann", "bob", "cy")
TALKS = (("t0", "ann", "bob"), ("t1", "bob", "cy"), ("t2", "ann", "cy"), ("t3", "cy", "cy"))
CIPHERTEXTS = tuple(b"sealed %d" % number for number in range(5))
WORDS = {
    "overloaded": ("retry", 1_000, "The relay is busy."),
    "outcome_unknown": ("retry", 1_000, "The event may or may not have been stored."),
    "cursor_ahead": ("resync", None, "The cursor is ahead of this inbox."),
}


@dataclass
class Stored:
    """One record of a conversation."""

    envelope: Envelope
    server_seq: int
    received_ms: int
    chain: bytes


@dataclass
class Line:
    """One connection, as its client sees it."""

    number: int
    user: str
    subprotocol: str
    cursor: int = 0


@dataclass
class Sent:
    """An envelope and the attempts at it; `record` once it is stored."""

    envelope: Envelope
    attempt: int
    record: Stored | None = None
    is_acked: bool = False


@dataclass
class Tale:
    """Tells one history."""

    private_share: ClassVar[float] = 0.3
    """Of all reads, those that are private."""

    path: Path
    seed: int
    now: int = 0
    wall_step_ms: int = 0
    inboxes: dict[str, list[Stored]] = field(default_factory=dict)
    logs: dict[str, list[Stored]] = field(default_factory=dict)
    lines: dict[str, Line] = field(default_factory=dict)
    sent: list[Sent] = field(default_factory=list)
    marks: dict[tuple[str, str, bool], int] = field(default_factory=dict)
    envelopes: int = 0

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.recorder = Recorder(
            self.path,
            relay="tale",
            seed=self.seed,
            configuration={"users": len(USERS)},
            now_ns=lambda: self.now,
            wall_ns=lambda: WALL_NS,
        )
        self.inboxes = {user: [] for user in USERS}
        self.logs = {name: [] for name, _, _ in TALKS}

    # ── what happens ─────────────────────────────────────────────────────────────────────────

    def tell(self, sends: int) -> None:
        """From the first connection to the final reads."""
        for user in USERS:
            self.connect(user)
        baseline = self.recorder.begin("baseline")
        self._chat(sends)
        self.recorder.end(baseline)
        self._stumble()
        victims = (self.recorder.conversation(*TALKS[2]),)
        fault = self.recorder.begin("crash-loop", victims)
        self._chat(sends)
        self.recorder.end(fault)
        self._settle()
        self._read_everything()
        self.recorder.close()

    def _chat(self, sends: int) -> None:
        for number in range(sends):
            self.chance.choice((self._send_one, self._send_one, self._send_one, self._read))()
            if number % 16 == 7:
                self._send_again()
            self._send_one()

    def _stumble(self) -> None:
        """Everything that can go wrong without a promise being broken, and a restart."""
        self._refuse_one()
        self._lose_one(is_stored=True)
        self._lose_one(is_stored=False)
        self._resume_too_far("bob")
        self.recorder.refused(self.recorder.user("cy"), 503, "overloaded")
        self.pass_ms(5)
        for line in self.lines.values():
            self.recorder.closed(line.number, None if line.user == "ann" else 1011)
        self.recorder.down("kill")
        self.pass_ms(300)
        self.recorder.up()
        self.wall_step_ms -= 3_000
        for user in USERS:
            self.connect(user)

    # ── connections ──────────────────────────────────────────────────────────────────────────

    def connect(self, user: str, subprotocol: str = "", *, is_final: bool = False) -> Line:
        """Connect, and resume from where the user was; at the end from the very beginning."""
        began, inbox = self.now, self.inboxes[user]
        self.pass_ms(2)
        subprotocol = subprotocol or self.chance.choice(("ksmpv3.json", "ksmpv3.msgpack"))
        number = self.recorder.connected(
            self.recorder.user(user),
            device="default",
            subprotocol=subprotocol,
            epoch="e1",
            head=len(inbox),
            opening_began_ns=began,
        )
        cursor = 0 if is_final or user not in self.lines else self.lines[user].cursor
        line = Line(number, user, subprotocol, cursor)
        self.recorder.resume(number, cursor, is_final=is_final)
        self.pass_ms(1)
        self._deliver_to(line)
        if is_final:
            self._show_positions(line)
        self.recorder.resumed(number, len(inbox))
        self.lines[user] = line
        return line

    def _resume_too_far(self, user: str) -> None:
        number = self.recorder.connected(
            self.recorder.user(user),
            device="other",
            subprotocol="ksmpv3.json",
            epoch="e1",
            head=len(self.inboxes[user]),
        )
        self.recorder.resume(number, 10_000)
        self._error(number, "cursor_ahead", "ksmpv3.resume")
        self.recorder.resume(number, None)
        self.recorder.resumed(number, len(self.inboxes[user]))
        self.recorder.closed(number, 1000)

    def _look_back(self, user: str) -> None:
        """A second device reads the whole inbox, and leaves."""
        kept = self.lines[user]
        del self.lines[user]
        line = self.connect(user)
        self.recorder.closed(line.number, 1000)
        self.lines[user] = kept

    def _deliver(self) -> None:
        for line in self.lines.values():
            self._deliver_to(line)

    def _deliver_to(self, line: Line) -> None:
        inbox = self.inboxes[line.user]
        numbers = range(line.cursor + 1, len(inbox) + 1)
        if numbers:
            frames = tuple(self._frame(line, number, inbox[number - 1]) for number in numbers)
            self.recorder.frames(line.number, frames)
            line.cursor = len(inbox)

    def _frame(self, line: Line, number: int, record: Stored) -> Frame:
        return self.recorder.frame(
            record.envelope,
            global_inbox_seq=number,
            previous=number - 1,
            server_seq=record.server_seq,
            received_ms=record.received_ms,
            chain=record.chain,
            raw=f"{line.subprotocol} {line.user} {number} {record.chain.hex()}".encode(),
        )

    # ── sends ────────────────────────────────────────────────────────────────────────────────

    def _send_one(self) -> None:
        sent = self._offer()
        self._store(sent)
        self._in_either_order(lambda: self._ack(sent, sent.attempt), self._deliver)

    def _send_again(self) -> None:
        """A known key, on whatever connection its sender has now."""
        acked = [one for one in self.sent if one.is_acked]
        self._retry(self.chance.choice(acked))

    def _refuse_one(self) -> None:
        sent = self._offer()
        action, after_ms, message = WORDS["overloaded"]
        self.recorder.fail(
            sent.attempt,
            code="overloaded",
            action=action,
            retry_after_ms=after_ms,
            message=message,
        )

    def _lose_one(self, *, is_stored: bool) -> None:
        sent = self._offer()
        if is_stored:
            self._store(sent)
            self._deliver()
            self.recorder.info(sent.attempt, "outcome_unknown")
            self._error(self.lines[sent.envelope.sender].number, "outcome_unknown", "ksmpv3.send")

    def _settle(self) -> None:
        """Retry one of those that were lost; the others stay unknown."""
        lost = [one for one in self.sent if one.record is not None and not one.is_acked]
        for one in lost[1:]:
            self._retry(one)
        self._lose_one(is_stored=True)
        self._look_back("cy")
        self._send_one()

    def _retry(self, sent: Sent) -> None:
        line = self.lines[sent.envelope.sender]
        attempt = self.recorder.again(line.number, sent.attempt)
        self.pass_ms(1)
        self._ack(sent, attempt)

    def envelope(self, talk: tuple[str, str, str] | None = None) -> Envelope:
        """A new one, of either side of some conversation."""
        name, one, other = talk or self.chance.choice(TALKS)
        sender, recipient = (one, other) if self.chance.random() < 0.5 else (other, one)
        self.envelopes += 1
        number = self.envelopes
        created_ms = WALL_NS // MS + number
        content = hashlib.sha256(CIPHERTEXTS[number % 5]).digest()
        ids = (f"m{number}", sender, recipient, "text")
        return Envelope(name, *ids, created_ms, f"k{number}", content)

    def _offer(self, envelope: Envelope | None = None) -> Sent:
        envelope = envelope or self.envelope()
        people = (envelope.sender, envelope.recipient)
        ciphertext = CIPHERTEXTS[int(envelope.key[1:]) % 5]
        self.pass_ms(1)
        attempt = self.recorder.send(
            self.lines[envelope.sender].number,
            self.recorder.conversation(envelope.conversation_id, *people),
            self.recorder.content(ciphertext),
            created_ms=envelope.created_ms,
            message_id=envelope.message_id,
            key=envelope.key,
        )
        self.pass_ms(self.chance.randrange(1, 5))
        self.sent.append(Sent(envelope, attempt))
        return self.sent[-1]

    def _store(self, sent: Sent) -> None:
        envelope = sent.envelope
        log = self.logs[envelope.conversation_id]
        before = (
            log[-1].chain
            if log
            else chain_base(envelope.conversation_id, envelope.sender, envelope.recipient)
        )
        received_ms = self.wall_ms()
        seq = self.next_seq(log)
        chain = chain_after(before, seq, received_ms, payload_of(envelope))
        sent.record = Stored(envelope, seq, received_ms, chain)
        log.append(sent.record)
        for user in {envelope.sender, envelope.recipient}:
            self.inboxes[user].append(sent.record)

    def next_seq(self, log: list[Stored]) -> int:
        """The number of the next record."""
        return len(log) + 1

    def wall_ms(self) -> int:
        """The relay's wall clock."""
        return (WALL_NS + self.now) // MS + self.wall_step_ms + 10_000

    def _ack(self, sent: Sent, attempt: int) -> None:
        record, line = sent.record, self.lines[sent.envelope.sender]
        assert record is not None
        sent.is_acked = True
        self.recorder.ok(
            attempt,
            server_seq=record.server_seq,
            received_ms=record.received_ms,
            chain=record.chain,
            raw=f"{line.subprotocol} ack {record.chain.hex()}".encode(),
        )

    # ── reads ────────────────────────────────────────────────────────────────────────────────

    def _read(self) -> None:
        name, one, other = self.chance.choice(TALKS)
        reader = self.chance.choice((one, other))
        if not self.logs[name]:
            return
        seq = self.chance.randrange(len(self.logs[name])) + 1
        is_private = self.chance.random() < self.private_share
        talk = self.recorder.conversation(name, one, other)
        line = self.lines[reader]
        read = self.recorder.read(line.number, talk, seq, private=is_private)
        self.pass_ms(1)
        for is_own in (True, False):
            if is_own or self.is_shown(is_private=is_private):
                place = (name, reader, is_own)
                self.marks[place] = self.raised(self.marks.get(place, 0), seq)
        self.recorder.read_ok(read, self.marks[name, reader, True])

    def raised(self, before: int, seq: int) -> int:
        """A position after a read."""
        return max(before, seq)

    def is_shown(self, *, is_private: bool) -> bool:
        """Whether the peer learns of a read."""
        return not is_private

    def _show_positions(self, line: Line) -> None:
        for name, one, other in TALKS:
            for reader in {one, other} if line.user in (one, other) else ():
                seq = self.marks.get((name, reader, reader == line.user), 0)
                if seq:
                    talk = self.recorder.conversation(name, one, other)
                    self.recorder.position(line.number, talk, self.recorder.user(reader), seq)

    # ── the end ──────────────────────────────────────────────────────────────────────────────

    def _read_everything(self) -> None:
        for user in USERS:
            self.recorder.closed(self.lines[user].number, None)
        for user in USERS:
            for subprotocol in ("ksmpv3.json", "ksmpv3.msgpack"):
                self.pass_ms(1)
                self.connect(user, subprotocol, is_final=True)
        for name, one, other in TALKS:
            talk = self.recorder.conversation(name, one, other)
            self.recorder.head(talk, self.next_seq(self.logs[name]) - 1)

    # ── small things ─────────────────────────────────────────────────────────────────────────

    def pass_ms(self, milliseconds: int) -> None:
        """Time goes on."""
        self.now += milliseconds * MS

    def _in_either_order(self, *steps: Callable[[], None]) -> None:
        for step in self.chance.sample(steps, len(steps)):
            step()

    def _error(self, connection: int, code: str, about: str) -> None:
        action, after_ms, message = WORDS[code]
        self.recorder.error(
            connection,
            code=code,
            action=action,
            retry_after_ms=after_ms,
            message=message,
            about=about,
        )


def told(
    directory: Path, seed: int, sends: int = 120, tale: type[Tale] = Tale
) -> tuple[Header, list[Record]]:
    """What a tale tells, as records."""
    path = directory / f"tale-{seed}.history"
    tale(path, seed).tell(sends)
    with opened(path) as history:
        return history.header, list(history.records)
