"""Checks what one receiver was sent: in order, no gap, no duplicate, chain and links unbroken.

An `InboxChecker` is fed every inbox frame of one connection, in the order of arrival, and counts
what the protocol (section 5) rules out:

    gap          a number was skipped and never came
    duplicate    a number came twice
    reordered    a number came after a higher one
    chain break  the hash does not follow from the record before; or the inbox's own link
                 (`previousGlobalInboxSeq`) names another record than the one before; or an ack
                 names another number or hash than its record has

Nothing here does I/O and nothing is kept per good record, so that tens of thousands of frames
can be checked in a second.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from ksmp.chain import chain_after, chain_base
from ksmp.events import InboxFrame, RecordedEnvelope, SendAck
from ksmp.types import (
    ConversationId,
    ConversationKey,
    GlobalInboxSeq,
    MessageId,
    ServerSeq,
    UserId,
    conversation_key,
)

MAX_REMEMBERED_MISSING: Final = 10_000
"""Skipped numbers remembered per conversation, to tell a late record from a repeated one."""


class OrderCounts(Struct):
    """What was examined and what was wrong with it. Nothing examined is no good verdict."""

    checked: int = 0
    gaps: int = 0
    duplicates: int = 0
    reordered: int = 0
    chain_breaks: int = 0

    @property
    def violations(self) -> int:
        """How often a promise was seen broken."""
        return self.gaps + self.duplicates + self.reordered + self.chain_breaks

    def add(self, other: OrderCounts) -> None:
        """Count what `other` has counted, too."""
        self.checked += other.checked
        self.gaps += other.gaps
        self.duplicates += other.duplicates
        self.reordered += other.reordered
        self.chain_breaks += other.chain_breaks


class InboxChecker:
    """What one user's connection sees: its inbox, and each conversation in it."""

    def __init__(self, user: UserId, base: GlobalInboxSeq) -> None:
        self.counts = OrderCounts()
        self._user = user
        self._cursor = base
        self._conversations: dict[ConversationKey, _ConversationChecker] = {}
        self._claims: dict[tuple[ConversationId, MessageId], tuple[ServerSeq, bytes]] = {}

    def expect_new(self, conversation_id: ConversationId, peer: UserId) -> None:
        """The conversation does not exist yet: its first record is number 1 on the chain's base.

        One that was not announced is followed from the first record that is seen of it.
        """
        self._conversations[conversation_key(conversation_id, self._user, peer)] = (
            _ConversationChecker(
                self.counts, ServerSeq(0), chain_base(conversation_id, self._user, peer)
            )
        )

    def frame(self, frame: InboxFrame) -> None:
        """Check the next frame of the stream."""
        counts, envelope = self.counts, frame.envelope
        counts.checked += 1
        in_order = self._conversation_of(envelope).record(envelope, frame.chain)
        if frame.previous_global_inbox_seq == self._cursor < frame.global_inbox_seq:
            self._cursor = frame.global_inbox_seq
        else:
            # Where the conversation's own number shows the fault, it has been counted already.
            if in_order:
                self._count_broken_link(frame)
            self._cursor = max(self._cursor, frame.global_inbox_seq)
        if envelope.sender_user_id == self._user:
            self._claim(envelope, frame.chain)

    def ack(self, ack: SendAck) -> None:
        """Check that the ack of an own send claims what the record's frame shows."""
        self._claim(ack, ack.chain)

    def finish(self, acked: Mapping[ConversationKey, ServerSeq]) -> None:
        """Count what never came: the numbers skipped, and those up to the highest one acked."""
        for key, conversation in self._conversations.items():
            self.counts.gaps += conversation.missing_through(acked.get(key, ServerSeq(0)))

    def last(self, key: ConversationKey) -> tuple[ServerSeq, bytes | None]:
        """The highest number seen of a conversation, and its hash: what two people compare."""
        conversation = self._conversations[key]
        return conversation.last_seq, conversation.last_chain

    def _conversation_of(self, envelope: RecordedEnvelope) -> _ConversationChecker:
        key = conversation_key(
            envelope.conversation_id, envelope.sender_user_id, envelope.recipient_user_id
        )
        conversation = self._conversations.get(key)
        if conversation is None:
            before = ServerSeq(envelope.server_seq - 1)
            conversation = _ConversationChecker(self.counts, before, None)
            self._conversations[key] = conversation
        return conversation

    def _count_broken_link(self, frame: InboxFrame) -> None:
        """Say why the inbox's stream is not simply one record further."""
        if frame.global_inbox_seq <= self._cursor:
            self.counts.reordered += 1
        elif frame.previous_global_inbox_seq > self._cursor:
            self.counts.gaps += 1
        else:
            self.counts.chain_breaks += 1

    def _claim(self, record: RecordedEnvelope | SendAck, chain: bytes) -> None:
        """The ack and the frame of a record must agree; whichever comes second is compared."""
        key = (record.conversation_id, record.message_id)
        claimed = self._claims.pop(key, None)
        if claimed is None:
            self._claims[key] = (record.server_seq, chain)
        elif claimed != (record.server_seq, chain):
            self.counts.chain_breaks += 1


class _ConversationChecker:
    """The numbers and the chain of one conversation, as one receiver sees them."""

    __slots__ = ("_counts", "_forgotten", "_missing", "last_chain", "last_seq")

    def __init__(self, counts: OrderCounts, last_seq: ServerSeq, last_chain: bytes | None) -> None:
        self.last_seq = last_seq
        self.last_chain = last_chain  # None: the next hash is taken for the base
        self._counts = counts
        self._missing: set[int] = set()
        self._forgotten = 0

    def record(self, envelope: RecordedEnvelope, chain: bytes) -> bool:
        """Whether the record is the next one of its conversation; what is wrong is counted."""
        seq = envelope.server_seq
        if seq <= self.last_seq:
            self._count_old(seq)
            return False
        is_next = seq == self.last_seq + 1
        if not is_next:
            self._skip(range(self.last_seq + 1, seq))
        elif self.last_chain is not None and chain != chain_after(self.last_chain, envelope):
            self._counts.chain_breaks += 1
        self.last_seq, self.last_chain = seq, chain
        return is_next

    def missing_through(self, acked: ServerSeq) -> int:
        """How many numbers never came."""
        return len(self._missing) + self._forgotten + max(0, acked - self.last_seq)

    def _count_old(self, seq: ServerSeq) -> None:
        if seq in self._missing:
            self._missing.remove(seq)
            self._counts.reordered += 1
        else:
            self._counts.duplicates += 1

    def _skip(self, numbers: range) -> None:
        remembered = numbers[: MAX_REMEMBERED_MISSING - len(self._missing)]
        self._missing.update(remembered)
        self._forgotten += len(numbers) - len(remembered)
