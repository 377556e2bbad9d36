"""Relays on paper that each break one promise; `PLANTED` says which judges must notice.

What follows from a fault is broken as well, and is named too: a relay that forgets an acked record
has also gone back. No other promise may be found broken. Here are those that go back, answer
wrongly or let others wait; the rest is in the two files beside.
"""

from __future__ import annotations

from tests.bench.checker.planted_log import (
    AcksAnotherNumber,
    BreaksTheChain,
    ForgetsKeys,
    InventsARecord,
    LeavesAHole,
    LosesAnAckedRecord,
    NumbersALaterSendFirst,
    NumbersByTheWallClock,
    SendsBeforeItWasSent,
    StoresWhatItRefused,
    TellsOneUserAnotherTime,
    TurnsOneConnectionAround,
)
from tests.bench.checker.planted_streams import (
    CutsTheReplayShort,
    ReplaysOtherBytes,
    ReplaysToAnOldHead,
    SendsAFrameTwice,
    SendsBeforeAResume,
    ShowsStrangers,
    ShowsStrangersPositions,
    SkipsAFrame,
    StoresInOneInboxOnly,
    StoresTwiceInAnInbox,
)
from tests.bench.checker.tale import TALKS, WORDS, Line, Sent, Tale

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
    private_share = 1.0  # a public read of the same record would cover it up

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
