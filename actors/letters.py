"""What a connection puts into a conversation's mailbox: one client event and who waits for it.

A letter is open until it is answered, and it is answered once: whoever comes first wins, later
answers are ignored. So a crash, a restart and a commit may all try, and the client hears one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from msgspec import UNSET

from ksmp.chain import chain_payload
from ksmp.errors import error
from ksmp.events import About, AckRead, Envelope, ServerEvent
from ksmp.types import ConversationKey, UserId, conversation_key
from storage import failpoints, fault_orders


class Correspondent(Protocol):
    """Whoever sent a letter and can take its answer: a connection."""

    def settle(self, letter: Letter, answer: ServerEvent) -> None:
        """Queue the answer. Called once per letter, on the event loop; never waits or raises."""

    def deliver(self) -> None:
        """Send what is queued, as far as it goes without waiting; never raises."""

    def fail(self, bug: BaseException) -> None:
        """End, by a fault of ours in what is done for it; never raises."""


class _Letter:
    """What both kinds share: who waits, and whether they still do."""

    __slots__ = ("is_handed_over", "is_open", "reply_to", "size")

    def __init__(self, reply_to: Correspondent, size: int) -> None:
        self.reply_to = reply_to
        self.size = size  # bytes of the frame it came in
        self.is_open = True
        self.is_handed_over = False  # to the log: then only its outcome may answer

    def about(self) -> About:
        """What an error about it names."""
        raise NotImplementedError

    def answer(self, event: ServerEvent, *, deliver: bool = True) -> None:
        """Give `event` to whoever waits, unless another answer came first.

        Without `deliver` it stays queued until someone delivers, as a commit does for all at once.
        """
        if self.is_open:
            self.is_open = False
            self.reply_to.settle(self, event)  # type: ignore[arg-type]
            if deliver:
                self.reply_to.deliver()

    def refuse(self, code: str, retry_after_ms: int = 1_000, *, deliver: bool = True) -> None:
        """Answer with the error of this code."""
        refusal = error(code, self.about(), retry_after_ms=retry_after_ms)
        self.answer(refusal, deliver=deliver)


class SendLetter(_Letter):
    """A `ksmpv3.send`, its limits and authorisation already judged."""

    __slots__ = ("_payload", "envelope")

    def __init__(self, envelope: Envelope, reply_to: Correspondent, size: int) -> None:
        super().__init__(reply_to, size)
        self.envelope = envelope
        self._payload: bytes | None = None

    @property
    def payload(self) -> bytes:
        """`ksmp.chain.chain_payload` of the envelope, computed once."""
        if self._payload is None:
            self._payload = chain_payload(self.envelope)
        return self._payload

    @property
    def conversation(self) -> ConversationKey:
        """The conversation it is for."""
        envelope = self.envelope
        return conversation_key(
            envelope.conversation_id, envelope.sender_user_id, envelope.recipient_user_id
        )

    def about(self) -> About:
        """What an error about it names."""
        envelope = self.envelope
        return About(
            "ksmpv3.send",
            envelope.conversation_id,
            envelope.recipient_user_id,
            envelope.message_id,
            envelope.idempotency_key,
        )


class ReadLetter(_Letter):
    """A `ksmpv3.ack.read` by `reader`."""

    __slots__ = ("ack", "reader")

    def __init__(self, ack: AckRead, reader: UserId, reply_to: Correspondent, size: int) -> None:
        super().__init__(reply_to, size)
        self.ack = ack
        self.reader = reader

    @property
    def is_private(self) -> bool:
        """Whether only the reader's own devices may learn of it."""
        return self.ack.private is not UNSET and self.ack.private

    @property
    def conversation(self) -> ConversationKey:
        """The conversation it is for."""
        return conversation_key(self.ack.conversation_id, self.reader, self.ack.peer_user_id)

    def about(self) -> About:
        """What an error about it names."""
        return About("ksmpv3.ack.read", self.ack.conversation_id)


Letter = SendLetter | ReadLetter


def concerning(letters: Iterable[Letter]) -> failpoints.About:
    """What a failpoint may ask of letters in hand."""

    def told() -> Iterator[fault_orders.Letter]:
        for letter in letters:
            key = letter.envelope.idempotency_key if isinstance(letter, SendLetter) else None
            yield fault_orders.Letter(letter.conversation, key)

    return told
