"""Relays on paper that store or number wrongly."""

from __future__ import annotations

from bench.checker.records import Frame
from tests.bench.checker.once import Once
from tests.bench.checker.tale import TALKS, Line, Sent, Stored, Tale


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
