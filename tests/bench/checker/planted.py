"""Relays on paper that each break one promise; `PLANTED` says which judges must notice.

What follows from a fault is broken as well, and is named too: a relay that forgets an acked record
has also gone back. No other promise may be found broken.
"""

from __future__ import annotations

from collections.abc import Callable

from bench.checker.records import Frame
from tests.bench.checker.tale import MS, TALKS, WORDS, Line, Sent, Stored, Tale


class Once(Tale):
    """Something goes wrong a single time, when everything has begun."""

    done: bool = False

    def first_time(self, *, after_ms: int = 200) -> bool:
        """Whether it is to go wrong now."""
        if self.done or self.now < after_ms * MS:
            return False
        self.done = True
        return True


# ── the log ──────────────────────────────────────────────────────────────────────────────────


class LosesAnAckedRecord(Tale):
    def _read_everything(self) -> None:
        self._forget(self.sent[-1])
        super()._read_everything()

    def _forget(self, sent: Sent) -> None:
        assert sent.record is not None
        self.logs[sent.envelope.conversation_id].remove(sent.record)
        for user in {sent.envelope.sender, sent.envelope.recipient}:
            self.inboxes[user].remove(sent.record)


class AcksAnotherNumber(Once):
    def _ack(self, sent: Sent, attempt: int) -> None:
        record = sent.record
        assert record is not None
        if record.server_seq > 1 and self.first_time():
            other = self.logs[sent.envelope.conversation_id][record.server_seq - 2]
            sent.record = Stored(
                record.envelope, other.server_seq, record.received_ms, record.chain
            )
            super()._ack(sent, attempt)
            sent.record = record
            sent.is_acked = False
        else:
            super()._ack(sent, attempt)


class InventsARecord(Tale):
    def _settle(self) -> None:
        self._store(Sent(self.envelope(), -1))
        super()._settle()


class StoresWhatItRefused(Tale):
    def _refuse_one(self) -> None:
        super()._refuse_one()
        self._store(self.sent.pop())


class SendsBeforeItWasSent(Tale):
    def _settle(self) -> None:
        envelope = self.envelope(TALKS[3])
        early = Sent(envelope, -1)
        self._store(early)
        self._deliver()
        self.pass_ms(1)
        late = self._offer(envelope)
        late.record = early.record
        self._ack(late, late.attempt)
        super()._settle()


class BreaksTheChain(Once):
    def _store(self, sent: Sent) -> None:
        super()._store(sent)
        if sent.record is not None and self.first_time():
            sent.record.chain = bytes(32)


class TellsOneUserAnotherTime(Once):
    def _frame(self, line: Line, number: int, record: Stored) -> Frame:
        if line.user == "ann" and number == len(self.inboxes["ann"]) and self.first_time():
            shifted = Stored(
                record.envelope, record.server_seq, record.received_ms + 1, record.chain
            )
            return super()._frame(line, number, shifted)
        return super()._frame(line, number, record)


class ForgetsKeys(Tale):
    def _retry(self, sent: Sent) -> None:
        self._store(sent)
        super()._retry(sent)


class LeavesAHole(Once):
    hole: str = ""

    def next_seq(self, log: list[Stored]) -> int:
        if log and not self.hole and self.first_time():
            self.hole = log[0].envelope.conversation_id
        is_holed = bool(log) and log[0].envelope.conversation_id == self.hole
        return super().next_seq(log) + is_holed


# ── order ────────────────────────────────────────────────────────────────────────────────────


class NumbersByTheWallClock(Tale):
    """The later send is numbered before the earlier one, which has been acked."""

    step_ms = -60_000

    def _settle(self) -> None:
        later, earlier = self.envelope(TALKS[0]), self.envelope(TALKS[0])
        first, second = Sent(later, -1), self._offer(earlier)
        self.wall_step_ms += self.step_ms
        self._store(first)
        self.wall_step_ms -= self.step_ms
        self._store(second)
        self._ack(second, second.attempt)
        self.pass_ms(1)
        offered = self._offer(later)
        offered.record = first.record
        self._ack(offered, offered.attempt)
        self._deliver()
        super()._settle()


class NumbersALaterSendFirst(NumbersByTheWallClock):
    step_ms = 0


class TurnsOneConnectionAround(Tale):
    def _settle(self) -> None:
        one, other = self.envelope(TALKS[3]), self.envelope(TALKS[3])
        pair = [self._offer(one), self._offer(other)]
        for sent in reversed(pair):
            self._store(sent)
        self._deliver()
        for sent in pair:
            self._ack(sent, sent.attempt)
        super()._settle()


# ── streams and inboxes ──────────────────────────────────────────────────────────────────────


class SkipsAFrame(Once):
    def _deliver_to(self, line: Line) -> None:
        if line.cursor + 1 == len(self.inboxes[line.user]) and self.first_time():
            line.cursor += 1
        super()._deliver_to(line)


class SendsAFrameTwice(Once):
    def _deliver_to(self, line: Line) -> None:
        if line.cursor == len(self.inboxes[line.user]) > 0 and self.first_time():
            line.cursor -= 1
        super()._deliver_to(line)


class SendsBeforeAResume(Tale):
    def _stumble(self) -> None:
        line = self.lines["bob"]
        number = self.recorder.connected(
            self.recorder.user("bob"),
            device="eager",
            subprotocol="ksmpv3.json",
            epoch="e1",
            head=len(self.inboxes["bob"]),
        )
        self.lines["bob"] = Line(number, "bob", "ksmpv3.json")
        self._deliver_to(self.lines["bob"])
        self.recorder.closed(number, None)
        self.lines["bob"] = line
        super()._stumble()


class CutsTheReplayShort(Tale):
    """The last frame of a replay is left out; what is said about it is as it should be."""

    def _look_back(self, user: str) -> None:
        last = self.inboxes[user].pop()
        recorder_resumed = self.recorder.resumed
        self.recorder.resumed = lambda on, number: recorder_resumed(on, number + 1)  # type: ignore[assignment,method-assign]
        connected = self.recorder.connected
        self.recorder.connected = self._with_head(1)  # type: ignore[method-assign]
        super()._look_back(user)
        self.recorder.resumed = recorder_resumed  # type: ignore[method-assign]
        self.recorder.connected = connected  # type: ignore[method-assign]
        self.inboxes[user].append(last)

    def _with_head(self, more: int) -> Callable[..., int]:
        connected = self.recorder.connected

        def with_head(user: int, **fields: object) -> int:
            fields["head"] = int(str(fields["head"])) + more
            return connected(user, **fields)  # type: ignore[arg-type]

        return with_head


class ReplaysToAnOldHead(CutsTheReplayShort):
    """A replay is whole up to a head that leaves out what had been acked."""

    def _look_back(self, user: str) -> None:
        last = [self.inboxes[user].pop() for _ in range(3)]
        connected = self.recorder.connected
        self.recorder.connected = self._with_head(3)  # type: ignore[method-assign]
        Tale._look_back(self, user)
        self.recorder.connected = connected  # type: ignore[method-assign]
        self.inboxes[user] += reversed(last)


class ReplaysOtherBytes(Once):
    def _frame(self, line: Line, number: int, record: Stored) -> Frame:
        if number < line.cursor or not self.downs_seen() or not self.first_time():
            return super()._frame(line, number, record)
        return super()._frame(Line(line.number, "?", line.subprotocol), number, record)

    def downs_seen(self) -> bool:
        return self.wall_step_ms != 0


class StoresInOneInboxOnly(Once):
    def _store(self, sent: Sent) -> None:
        super()._store(sent)
        people = {sent.envelope.sender, sent.envelope.recipient}
        if len(people) == 2 and self.first_time():
            self.inboxes[sent.envelope.recipient].pop()


class StoresTwiceInAnInbox(Once):
    def _store(self, sent: Sent) -> None:
        super()._store(sent)
        if sent.record is not None and self.first_time():
            self.inboxes[sent.envelope.recipient].append(sent.record)


class ShowsStrangers(Once):
    def _store(self, sent: Sent) -> None:
        super()._store(sent)
        is_between_others = sent.envelope.conversation_id == "t0"
        if sent.record is not None and is_between_others and self.first_time():
            self.inboxes["cy"].append(sent.record)


class ShowsStrangersPositions(Tale):
    def _settle(self) -> None:
        talk = self.recorder.conversation(*TALKS[0])
        self.recorder.position(self.lines["cy"].number, talk, self.recorder.user("ann"), 0)
        super()._settle()


# ── restarts ─────────────────────────────────────────────────────────────────────────────────


class ForgetsTheHead(Tale):
    def _stumble(self) -> None:
        super()._stumble()
        self.recorder.connected(
            self.recorder.user("bob"),
            device="other",
            subprotocol="ksmpv3.json",
            epoch="e1",
            head=len(self.inboxes["bob"]) - 1,
        )


class ChangesTheEpoch(Tale):
    def _stumble(self) -> None:
        super()._stumble()
        self.recorder.connected(
            self.recorder.user("bob"),
            device="other",
            subprotocol="ksmpv3.json",
            epoch="e2",
            head=len(self.inboxes["bob"]),
        )


class RefusesItsOwnCursor(Tale):
    def _stumble(self) -> None:
        super()._stumble()
        head = len(self.inboxes["bob"])
        number = self.recorder.connected(
            self.recorder.user("bob"),
            device="other",
            subprotocol="ksmpv3.json",
            epoch="e1",
            head=head,
        )
        self.recorder.resume(number, head)
        self.pass_ms(1)
        self._error(number, "cursor_ahead", "ksmpv3.resume")


class ForgetsWhatWasSeen(LosesAnAckedRecord):
    """A send of unknown outcome was seen by its reader, and is gone later."""

    def _settle(self) -> None:
        super()._settle()
        self._lose_one(is_stored=True)


# ── reads, answers, isolation ────────────────────────────────────────────────────────────────


class SetsReadPositions(Tale):
    """The last read wins, where the highest should."""

    def raised(self, before: int, seq: int) -> int:
        return seq


class ShowsPrivateReads(Tale):
    def is_shown(self, *, is_private: bool) -> bool:
        return True


class AcksARetryInOtherWords(Tale):
    def _retry(self, sent: Sent) -> None:
        line = self.lines[sent.envelope.sender]
        self.lines[sent.envelope.sender] = Line(line.number, line.user, line.subprotocol + " ")
        super()._retry(sent)
        self.lines[sent.envelope.sender] = line


class MakesABystanderWait(Tale):
    done = False

    def _send_again(self) -> None:
        if self.wall_step_ms and not self.done:
            self.done = True
            sent = self._offer(self.envelope(TALKS[0]))
            self.pass_ms(400)
            self._store(sent)
            self._ack(sent, sent.attempt)
            self._deliver()
        super()._send_again()


class ForgetsABystander(Tale):
    done = False

    def _send_again(self) -> None:
        if self.wall_step_ms and not self.done:
            self.done = True
            self._offer(self.envelope(TALKS[0]))
        super()._send_again()


class Refuses(Tale):
    """Says one thing that is not in the registry."""

    said: tuple[str, str, int | None, str] = ("", "", None, "")

    def _stumble(self) -> None:
        code, action, after_ms, message = self.said
        self.recorder.error(
            self.lines["ann"].number,
            code=code,
            action=action,
            retry_after_ms=after_ms,
            message=message,
        )
        super()._stumble()


class HasItsOwnCode(Refuses):
    said = ("busy", "retry", 1_000, "Try later.")


class CallsForAnotherAction(Refuses):
    said = ("overloaded", "fix", 1_000, WORDS["overloaded"][2])


class LeavesOutWhenToRetry(Refuses):
    said = ("overloaded", "retry", None, WORDS["overloaded"][2])


class ShowsATraceback(Refuses):
    said = ("internal", "retry", 1_000, 'Traceback: File "relay/app.py", line 1')


class ClosesWithItsOwnCode(Tale):
    def _stumble(self) -> None:
        self.recorder.closed(self.lines["ann"].number, 4999)
        super()._stumble()


class AnswersHandshakesWrongly(Tale):
    def _stumble(self) -> None:
        self.recorder.refused(self.recorder.user("ann"), 500, "internal")
        super()._stumble()


PLANTED: dict[type[Tale], set[str]] = {
    LosesAnAckedRecord: {"I1", "I10", "I11"},
    AcksAnotherNumber: {"I1", "I3"},
    InventsARecord: {"I2"},
    StoresWhatItRefused: {"I2"},
    SendsBeforeItWasSent: {"I2"},
    BreaksTheChain: {"I3"},
    TellsOneUserAnotherTime: {"I3"},
    ForgetsKeys: {"I4", "I5"},
    AcksARetryInOtherWords: {"I5"},
    LeavesAHole: {"I6"},
    NumbersALaterSendFirst: {"I7"},
    NumbersByTheWallClock: {"I7", "I21"},
    TurnsOneConnectionAround: {"I8"},
    SkipsAFrame: {"I9"},
    SendsAFrameTwice: {"I9"},
    SendsBeforeAResume: {"I9"},
    CutsTheReplayShort: {"I10"},
    ReplaysToAnOldHead: {"I10"},
    ReplaysOtherBytes: {"I10"},
    ForgetsTheHead: {"I11"},
    ChangesTheEpoch: {"I11"},
    RefusesItsOwnCursor: {"I11"},
    StoresInOneInboxOnly: {"I12"},
    StoresTwiceInAnInbox: {"I12"},
    SetsReadPositions: {"I13"},
    ShowsPrivateReads: {"I13"},
    ShowsStrangers: {"I14"},
    ShowsStrangersPositions: {"I14"},
    MakesABystanderWait: {"I17"},
    ForgetsABystander: {"I17"},
    HasItsOwnCode: {"I18"},
    CallsForAnotherAction: {"I18"},
    LeavesOutWhenToRetry: {"I18"},
    ShowsATraceback: {"I18"},
    ClosesWithItsOwnCode: {"I18"},
    AnswersHandshakesWrongly: {"I18"},
    ForgetsWhatWasSeen: {"I11", "I23"},
}

MAY_BREAK: dict[type[Tale], set[str]] = {
    AcksAnotherNumber: {"I8"},
    NumbersALaterSendFirst: {"I8"},
    NumbersByTheWallClock: {"I8"},
}
"""What is broken too where chance has one connection send both messages."""
