"""One inbox, one delivery from it, and the hands that commit, publish and take between them."""

from __future__ import annotations

from actors.delivery import Delivery, Need
from actors.inboxes import Inbox
from actors.recent import RecentRecords
from actors.traffic import Traffic
from ksmp.chain import chain_link, chain_payload
from ksmp.codec import MSGPACK, Codec, encode_recorded
from ksmp.events import Error, InboxFrame, Read, ResumeComplete
from ksmp.types import ConversationKey, GlobalInboxSeq, ServerSeq, TimeMs, UserId
from storage.log import (
    Append,
    Appended,
    InboxHead,
    InboxPlace,
    MarkRead,
    NewRecord,
    ReadMarked,
)
from tests.actors.fake_transport import FakeTransport
from tests.actors.memory_log import MemoryLog
from tests.actors.world import ALICE, BOB, SilentTelemetry, envelope, key_of


class InboxStage:
    """Alice's inbox. What is stored is not published until a test says so, as in a commit."""

    def __init__(
        self,
        *,
        outbound_bytes: int = 1 << 20,
        recent_bytes: int = 0,
        stride: int = 1,
        codec: Codec = MSGPACK,
        offers: bool = True,
    ) -> None:
        """With `offers`, commits offer their records at once, as those of the relay do."""
        self.codec = codec
        self._offers = offers
        self.log = MemoryLog(stride=stride)
        self.inbox = Inbox(ALICE, InboxHead(GlobalInboxSeq(0), GlobalInboxSeq(0)))
        self.recent = RecentRecords(recent_bytes)
        self.transport = FakeTransport()
        self.delivery = Delivery(
            self.inbox,
            self.recent,
            self.log,
            codec,
            self.transport,
            outbound_bytes,
            SilentTelemetry(),
            Traffic(),
        )
        self._unpublished: list[tuple[InboxPlace, NewRecord]] = []

    # ── what the rest of the relay does ──────────────────────────────────────────────────────

    def store(self, amount: int = 1, *, text: bytes = b"sealed", conversation: str = "a") -> None:
        """Commit records one by one; nobody is told yet."""
        for _ in range(amount):
            key = key_of(conversation)
            record = self._record(key, text)
            appended = self.log.commit(Append(key, ServerSeq(record.server_seq - 1), [record]))
            assert isinstance(appended, Appended)
            self._unpublished.append((appended.places[ALICE][0], record))

    def _record(self, key: ConversationKey, text: bytes) -> NewRecord:
        head = self.log.head(key)
        seq, time = ServerSeq(head.server_seq + 1), TimeMs(7)
        sealed = envelope(f"key-{seq}", text=text, conversation=key.conversation_id)
        chain = chain_link(head.chain, seq, time, chain_payload(sealed))
        recorded = encode_recorded(sealed, seq, time)
        return NewRecord(seq, time, ALICE, sealed.idempotency_key, b"d" * 32, chain, recorded)

    def publish(self, amount: int | None = None) -> None:
        """Settle the oldest commits, all of them unless told how many."""
        settled = self._unpublished[:amount]
        del self._unpublished[: len(settled)]
        for place, record in settled:
            is_offered = self._offers and self.delivery.is_resumed
            if not (is_offered and self.delivery.offer([place], [record])):
                self.recent.add(ALICE, place, record)
            self.inbox.head = place.global_inbox_seq

    def mark_read(
        self,
        server_seq: int,
        *,
        reader: UserId = BOB,
        conversation: str = "a",
        private: bool = False,
    ) -> None:
        """Commit a read position and tell it to the connection, as a settled commit does."""
        self.publish()  # outcomes come in order
        key = key_of(conversation)
        marked = self.log.commit(
            MarkRead(key, reader, ServerSeq(server_seq), private, TimeMs(server_seq))
        )
        assert isinstance(marked, ReadMarked)
        is_own = reader == ALICE
        position = marked.own if is_own else marked.public
        if self.delivery.is_resumed and (marked.own_rose if is_own else marked.public_rose):
            peer = BOB if is_own else ALICE
            self.delivery.tell_read(Read(key.conversation_id, reader, peer, *position))

    # ── what the connection does ─────────────────────────────────────────────────────────────

    async def deliver(self) -> Need:
        """Advance and fetch until nothing is left, or no room while the transport is stalled."""
        while True:
            need = self.delivery.advance()
            is_flushed = self.transport.flush()
            if need is Need.NOTHING or (need is Need.ROOM and not is_flushed):
                return need
            if need is not Need.ROOM:
                await self.delivery.fetch(need)

    # ── what has come of it ──────────────────────────────────────────────────────────────────

    @property
    def heard(self) -> list[object]:
        """What has been sent, taken by the operating system or not, as short words."""
        return [self._word(message) for message in self.transport.sent + self.transport.queued]

    def _word(self, message: bytes) -> object:
        event = self.codec.decode_server_event(message)
        match event:
            case InboxFrame():
                return event.global_inbox_seq
            case ResumeComplete():
                return f"complete {event.global_inbox_seq}"
            case Read():
                return f"{event.reader_user_id} read {event.conversation_id} {event.server_seq}"
            case Error():
                return f"{event.code} {event.truncated_through}"
        raise AssertionError(f"a delivery does not send {event}")

    @property
    def frames(self) -> list[int]:
        return [word for word in self.heard if isinstance(word, int)]
