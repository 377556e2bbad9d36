"""Who is told what the clients of a load do and see: one who writes it down, and one who does not.

A load that is to be judged is told to a `RecordingWitness`. Where only speed is compared, a
`NullWitness` costs next to nothing, since nothing is hashed, encoded or written.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Protocol

from bench.checker.records import Frame
from bench.history import Recorder
from bench.seen import SUBPROTOCOL, frame_of, note_ack, note_connected, note_refusal
from ksmp.events import Connected, Error, InboxFrame, SendAck
from ksmp.types import ConversationId, GlobalInboxSeq, MessageId, UserId


class Witness(Protocol):
    """Gives numbers to connections and attempts, by which it is told of them later."""

    def connected(self, event: Connected, opening_began_ns: int) -> int:
        """A connection's first event has come; the connection's number."""

    def resume(self, connection: int, cursor: GlobalInboxSeq | None) -> None:
        """It asks for everything after a cursor."""

    def resumed(self, connection: int, global_inbox_seq: GlobalInboxSeq) -> None:
        """It is told that the replay is complete."""

    def frame(self, connection: int, frame: InboxFrame, raw: bytes) -> None:
        """It is sent an inbox frame, in these bytes."""

    def read_is_over(self, connection: int) -> None:
        """All that came in one read of its socket has been told."""

    def closed(self, connection: int, code: int | None) -> None:
        """It has ended; `None`: without a close frame of the relay."""

    def talk(self, conversation_id: ConversationId, one: UserId, other: UserId) -> int:
        """A conversation is going to be written to; its number."""

    def content(self, ciphertext: bytes) -> int:
        """A ciphertext is going to be sent; its number."""

    def sent(
        self,
        connection: int,
        conversation: int,
        content: int,
        created_ms: int,
        message_id: MessageId,
    ) -> int:
        """A new envelope is offered, its key its message id; the attempt's number."""

    def sent_again(self, connection: int, of: int) -> int:
        """The envelope of an attempt is offered once more; the new attempt's number."""

    def acked(self, attempt: int, ack: SendAck, raw: bytes) -> None:
        """An attempt is acked, in these bytes."""

    def refused(self, connection: int, attempt: int | None, error: Error) -> None:
        """An error event has come, about this attempt or about none."""

    def close(self) -> None:
        """Everything has been told."""

    def cut_off(self) -> None:
        """Nothing more will be told, whether or not that was everything."""


class RecordingWitness:
    """Writes a history, through a recorder that others may write with too."""

    def __init__(self, recorder: Recorder, subprotocol: str = SUBPROTOCOL) -> None:
        self.resume = recorder.resume
        self.resumed = recorder.resumed
        self.closed = recorder.closed
        self.talk = recorder.conversation
        self.content = recorder.content
        self.sent_again = recorder.again
        self.close = recorder.close
        self.cut_off = recorder.cut_off
        self._recorder = recorder
        self._subprotocol = subprotocol
        self._seen: defaultdict[int, list[Frame]] = defaultdict(list)

    def connected(self, event: Connected, opening_began_ns: int) -> int:
        """See `Witness`."""
        return note_connected(self._recorder, event, opening_began_ns, self._subprotocol)

    def frame(self, connection: int, frame: InboxFrame, raw: bytes) -> None:
        """See `Witness`. Kept until the read is over: one read is one record."""
        self._seen[connection].append(frame_of(self._recorder, frame, raw))

    def read_is_over(self, connection: int) -> None:
        """See `Witness`."""
        seen = self._seen[connection]
        if seen:
            self._recorder.frames(connection, tuple(seen))
            seen.clear()

    def sent(
        self,
        connection: int,
        conversation: int,
        content: int,
        created_ms: int,
        message_id: MessageId,
    ) -> int:
        """See `Witness`."""
        return self._recorder.send(
            connection,
            conversation,
            content,
            created_ms=created_ms,
            message_id=message_id,
        )

    def acked(self, attempt: int, ack: SendAck, raw: bytes) -> None:
        """See `Witness`."""
        note_ack(self._recorder, attempt, ack, raw)

    def refused(self, connection: int, attempt: int | None, error: Error) -> None:
        """See `Witness`."""
        note_refusal(self._recorder, connection, attempt, error)


class NullWitness:
    """Listens to nothing, and gives every number as 0."""

    def connected(self, event: Connected, opening_began_ns: int) -> int:
        """See `Witness`."""
        return 0

    def resume(self, connection: int, cursor: GlobalInboxSeq | None) -> None:
        """See `Witness`."""

    def resumed(self, connection: int, global_inbox_seq: GlobalInboxSeq) -> None:
        """See `Witness`."""

    def frame(self, connection: int, frame: InboxFrame, raw: bytes) -> None:
        """See `Witness`."""

    def read_is_over(self, connection: int) -> None:
        """See `Witness`."""

    def closed(self, connection: int, code: int | None) -> None:
        """See `Witness`."""

    def talk(self, conversation_id: ConversationId, one: UserId, other: UserId) -> int:
        """See `Witness`."""
        return 0

    def content(self, ciphertext: bytes) -> int:
        """See `Witness`."""
        return 0

    def sent(
        self,
        connection: int,
        conversation: int,
        content: int,
        created_ms: int,
        message_id: MessageId,
    ) -> int:
        """See `Witness`."""
        return 0

    def sent_again(self, connection: int, of: int) -> int:
        """See `Witness`."""
        return 0

    def acked(self, attempt: int, ack: SendAck, raw: bytes) -> None:
        """See `Witness`."""

    def refused(self, connection: int, attempt: int | None, error: Error) -> None:
        """See `Witness`."""

    def close(self) -> None:
        """See `Witness`."""

    def cut_off(self) -> None:
        """See `Witness`."""
