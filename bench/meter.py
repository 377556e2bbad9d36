"""Counts what a closed loop of sends does, and takes the latency of every one of them."""

from __future__ import annotations

from asyncio import Event
from collections.abc import Callable
from time import perf_counter

from bench.latency import Latencies


class Meter:
    """Every send is acked and delivered once; between `begin` and `end` that counts.

    Sender and receiver live in this process and read one clock, so delivery latency is the time
    from the send to the frame at the other side.
    """

    def __init__(self, now: Callable[[], float] = perf_counter) -> None:
        self.acked = 0
        self.delivered = 0
        self.rate_limited = 0
        self.retried = 0
        self.ack_latencies = Latencies()
        self.delivery_latencies = Latencies()
        self.settled = Event()
        self.is_sending = True
        self._now = now
        self._is_measuring = False
        self._unacked: dict[str, float] = {}
        self._undelivered: dict[str, float] = {}

    @property
    def unanswered(self) -> int:
        """Sends without an ack."""
        return len(self._unacked)

    @property
    def undelivered(self) -> int:
        """Sends that have not come to the other side."""
        return len(self._undelivered)

    def note_sent(self, message_id: str) -> None:
        """The send is on its way; a retry of it does not start the clock again."""
        now = self._now()
        self._unacked[message_id] = now
        self._undelivered[message_id] = now

    def note_acked(self, message_id: str) -> None:
        """The sender has its ack; a second one is not counted."""
        sent_at = self._unacked.pop(message_id, None)
        if sent_at is None:
            return
        if self._is_measuring:
            self.acked += 1
            self.ack_latencies.record(self._now() - sent_at)
        elif not self.is_sending:
            self._look_whether_settled()

    def note_delivered(self, message_id: str) -> None:
        """The other side has the message; a second copy is the history checker's business."""
        sent_at = self._undelivered.pop(message_id, None)
        if sent_at is None:
            return
        if self._is_measuring:
            self.delivered += 1
            self.delivery_latencies.record(self._now() - sent_at)
        elif not self.is_sending:
            self._look_whether_settled()

    def begin(self) -> None:
        """The warm-up is over."""
        self._is_measuring = True

    def end(self) -> None:
        """Nothing counts any more and nothing new is sent; `settled` tells when all came home."""
        self._is_measuring = False
        self.is_sending = False
        self._look_whether_settled()

    def _look_whether_settled(self) -> None:
        if not self._unacked and not self._undelivered:
            self.settled.set()
