"""Relays on paper that send the wrong frames, or to the wrong people."""

from __future__ import annotations

from collections.abc import Callable

from bench.checker.records import Frame
from tests.bench.checker.once import Once
from tests.bench.checker.tale import TALKS, Line, Sent, Stored, Tale


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
