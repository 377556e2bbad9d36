"""The actor of one client connection: what it may do, what it is told, and when it ends.

One task reads: it takes every message of one read, judges each, and routes sends and reads to
their conversations. While nothing stands in the way that is done in the very turn that found what
has arrived, and the task sleeps on. Answers and frames are queued by whoever has them and written
at once where the socket allows; only while it does not, or while records must be read from the
log, a second task, the pump, runs. Reading stops while this client has too much unanswered or
unread, so what it can make the relay hold is bounded.

A connection is temporary: it is never restarted. The client resumes from its cursor.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

import trio

from actors.alarms import Alarm
from actors.backpressure import Backpressure
from actors.deadlines import Deadlines, Due
from actors.delivery import Delivery, Need
from actors.failures import describe
from actors.inboxes import Inbox
from actors.letters import Letter
from actors.session import Session
from actors.surroundings import CLOCK_SKEW_SECONDS, Identity, Surroundings
from actors.telemetry import Hashed, hashed, hashed_conversation
from actors.transport import PeerGoneError, SlowPeerError, Transport
from actors.welcome import welcome
from ksmp.codec import Codec
from ksmp.errors import error
from ksmp.events import Error, Read, SendAck, ServerEvent
from ksmp.types import ConnectionId, DeviceId
from storage.failpoints import failpoint
from storage.fault_orders import Place
from storage.log import InboxPlace, NewRecord

REPLACED_RETRY_MS: Final = 60_000
CLOSING_SECONDS: Final = 1.0
EVENTS_PER_TURN: Final = 16


class Connection:
    """One authenticated WebSocket, from `ksmpv3.connected` to the close.

    `run` serves it to its end and never raises but `Cancelled`; everything else is called from
    other tasks, synchronously.
    """

    def __init__(
        self,
        connection_id: ConnectionId,
        identity: Identity,
        codec: Codec,
        transport: Transport,
        inbox: Inbox,
        surroundings: Surroundings,
    ) -> None:
        self._id = connection_id
        self._codec = codec
        self._transport = transport
        self._inbox = inbox
        self._around = surroundings
        self._limits = surroundings.limits
        self._telemetry = surroundings.telemetry
        self._traffic = surroundings.traffic
        now = trio.current_time()
        self._delivery = Delivery(
            inbox,
            surroundings.inboxes.recent,
            surroundings.log,
            codec,
            transport,
            self._limits.outbound_bytes,
            surroundings.telemetry,
            surroundings.traffic,
            failpoint(surroundings.failpoints, Place.ENCODE),
        )
        self._session = Session(
            self, identity, codec, transport, inbox, self._delivery, surroundings
        )
        self._deadlines = Deadlines(now + self._seconds_to_expiry(), self._limits.keepalive_seconds)
        self._backpressure = Backpressure(self._limits, transport, now)
        self._alarm: Alarm | None = None
        self._reading = trio.CancelScope()
        self._nursery: trio.Nursery | None = None
        self._is_pumping = False
        self._pumped = trio.Event()
        self._is_draining = False
        self._is_revoked = False
        self._answered = trio.Event()
        self._close_code: int | None = None

    # ── its life ─────────────────────────────────────────────────────────────────────────────

    @property
    def identity(self) -> Identity:
        """Who its latest token says it is."""
        return self._session.identity

    @property
    def device(self) -> DeviceId:
        """Which of the user's devices it is."""
        return self._session.identity.device

    @property
    def is_resumed(self) -> bool:
        """Whether it wants frames."""
        return self._delivery.is_resumed

    async def run(self) -> None:
        """Serve the client until either side ends it. The transport is released at return."""
        try:
            await self._serve()
        except* PeerGoneError as gone:
            if gone.subgroup(SlowPeerError):
                self.close(4410)
        except* Exception as bug:  # noqa: BLE001 - whatever it is, it ends here
            self.fail(bug)
        finally:
            self._closed()
            # Cancelled, `aclose` writes what can be written at once and releases the socket.
            with trio.move_on_after(CLOSING_SECONDS, shield=True):
                await self._transport.aclose()

    async def _serve(self) -> None:
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                self._open()
                with self._reading:
                    await self._receive()
                await self._finish()
            finally:
                # From here on nothing is pumped: `aclose` writes the rest. Before the nursery
                # closes, because a commit may want to deliver while it does.
                self._nursery = None
            nursery.cancel_scope.cancel()

    def _open(self) -> None:
        now = trio.current_time()
        self.send(welcome(self._id, self.identity, self._inbox, self._around))
        self._alarm = self._around.alarms.set(self._ring(now) or now, self._ring)
        self._around.inboxes.admit(self._inbox, self)
        self.deliver()
        self._telemetry.info(
            "connection.opened", **self.names(), subprotocol=self._codec.subprotocol
        )
        if self._is_revoked:
            self.revoke()

    async def _receive(self) -> None:
        """Read until the peer has gone, or `close` cancels this.

        Whoever sends many small events in one piece lets others have their turn in between.
        """
        try:
            while True:
                messages = deque(await self._transport.receive(self._take_at_once))
                await self._stand_back()
                while messages:
                    self._take(messages.popleft())  # and let go before any pause
                    await self._stand_back()
                    if messages and len(messages) % EVENTS_PER_TURN == 0:
                        await trio.lowlevel.checkpoint()
                self.deliver()
        except SlowPeerError:
            self.close(4410)
        except PeerGoneError:
            self.close(1000)

    def _take_at_once(self, messages: list[bytes | bytearray]) -> bool:
        """Take what has just arrived, without a turn of our own, where that is one turn's worth."""
        if len(messages) > EVENTS_PER_TURN:
            return False
        try:
            while messages:
                self._take(messages.pop(0))
                if self._must_stand_back():
                    return False
        except Exception as bug:  # noqa: BLE001 - whoever gives it has others to give to
            self.fail(bug)
        if self._transport.queued_bytes or self._delivery.is_catching_up:
            self.deliver()  # sends alone have no answer yet
        return True

    def _take(self, message: bytes | bytearray) -> None:
        if self._close_code is None and not self._is_draining:
            self._session.take(message)

    def _must_stand_back(self) -> bool:
        return self._session.held_back_until > 0.0 or self._backpressure.is_on

    async def _stand_back(self) -> None:
        """Read no more for as long as this client must not be read."""
        if self._backpressure.is_on:
            await self._backpressure.wait(self.deliver)
        elif until := self._session.held_back_until:
            self._session.held_back_until = 0.0
            await self._backpressure.hold_back(until, self.deliver)

    async def _finish(self) -> None:
        """Let the pump write what is left, for a moment, so that the close code arrives."""
        with trio.move_on_after(CLOSING_SECONDS):
            while self._is_pumping:
                await self._pumped.wait()

    def _closed(self) -> None:
        # Whoever is cancelled here has heard nothing: a client stays away after 1000.
        self.close(1001 if self._is_draining else 1011)
        self._answered.set()
        if self._alarm is not None:
            self._alarm.cancel()
        self._around.inboxes.dismiss(self._inbox, self)
        self._session.end()
        self._telemetry.info(
            "connection.closed",
            **self.names(),
            code=self._transport.close_code,
            records=self._delivery.records_sent,
        )

    def close(self, code: int, reason: Error | None = None) -> None:
        """Say `reason`, close with `code`, read no more. The first call counts."""
        if self._close_code is not None:
            return
        self._close_code = code
        if reason is not None:
            self.send(reason)
        self._transport.close(code)
        self.deliver()
        self._reading.cancel()

    def fail(self, bug: BaseException) -> None:
        """Our fault: contained and reported; nothing about its inside is told to the peer."""
        self._telemetry.error("connection.failed", **self.names(), **describe(bug))
        self.close(1011, error("internal"))

    def replaced(self) -> None:
        """A newer connection of this device has taken over."""
        self._telemetry.info("connection.replaced", **self.names())
        jittered = int(REPLACED_RETRY_MS * (1.0 + self._around.jitter()))
        self.close(4409, error("replaced", retry_after_ms=jittered))

    def revoke(self) -> None:
        """Its token is good no more: say so and close, or, before `run`, once it is welcomed."""
        self._is_revoked = True
        if self._nursery is not None and self._close_code is None:
            self._telemetry.info("connection.revoked", **self.names())
            self.close(4401, error("unauthenticated"))

    async def drain(self, retry_after_ms: int) -> None:
        """Accept nothing more, wait until everything accepted is answered, close with 1001."""
        if self._close_code is not None or self._is_draining:
            return
        self._is_draining = True
        self.send(error("draining", retry_after_ms=retry_after_ms))
        self.deliver()
        while self._backpressure.unanswered and self._close_code is None:
            self._answered = trio.Event()
            await self._answered.wait()
        self.close(1001)

    # ── writing ──────────────────────────────────────────────────────────────────────────────

    def expect(self, letter: Letter) -> None:
        """A letter of this connection is on its way to its conversation."""
        self._backpressure.expect(letter)

    def settle(self, letter: Letter, answer: ServerEvent) -> None:
        """Queue the answer to a letter of this connection."""
        self._backpressure.answered(letter)
        self._around.router.release(letter)
        try:
            self.send(answer)
            if self._telemetry.is_debug:
                self._log_answer(letter, answer)
        except Exception as bug:  # noqa: BLE001 - the commit that answers has others to answer
            self.fail(bug)
        if self._is_draining and not self._backpressure.unanswered:
            self._answered.set()

    def tell_read(self, read: Read) -> None:
        """Send a read position, now or when there is room."""
        try:
            self._delivery.tell_read(read)
        except Exception as bug:  # noqa: BLE001 - as above
            self.fail(bug)

    def offer(self, places: Sequence[InboxPlace], records: Sequence[NewRecord]) -> bool:
        """Queue records at the moment of their commit, if nothing stands before them."""
        try:
            return self._close_code is None and self._delivery.offer(places, records)
        except Exception as bug:  # noqa: BLE001 - as above
            self.fail(bug)
            return True

    def deliver(self) -> None:
        """Send what is queued and what the cursor has not passed, as far as it goes at once."""
        try:
            self._deliver()
        except Exception as bug:  # noqa: BLE001 - whoever delivers to many goes on to the next
            self.fail(bug)

    def _deliver(self) -> None:
        if self._nursery is None:
            return
        if self._is_pumping:
            self._backpressure.look()
            return
        need = self._delivery.advance() if self._close_code is None else Need.NOTHING
        if self._transport.flush() and need is Need.NOTHING:
            self._backpressure.look()
        else:
            self._is_pumping = True
            self._pumped = trio.Event()
            self._nursery.start_soon(self._pump, need)

    async def _pump(self, need: Need) -> None:
        """Write and read on until everything is sent; then the next commit may write directly."""
        try:
            while True:
                if need in (Need.PAGE, Need.READS) and self._close_code is None:
                    await self._delivery.fetch(need)
                await self._transport.drain()
                self._backpressure.look()
                need = self._delivery.advance() if self._close_code is None else Need.NOTHING
                if need is Need.NOTHING and self._transport.flush():
                    break
        finally:
            self._is_pumping = False
            self._pumped.set()

    def send(self, event: ServerEvent) -> None:
        """Queue an event."""
        match event:
            case SendAck():
                self._traffic.acks += 1
            case Error(code):
                self._traffic.errors[code] += 1
        self._transport.send(self._codec.encode(event))

    # ── time ─────────────────────────────────────────────────────────────────────────────────

    def _seconds_to_expiry(self) -> float:
        """From now to `exp`; a token accepted within the clock skew lives to the end of that."""
        left = (self._session.identity.expires_at_ms - self._around.wall_clock()) / 1_000
        return left if left > 0 else left + CLOCK_SKEW_SECONDS

    def live_until_expiry(self) -> None:
        """The identity has been refreshed: its expiry is another."""
        now = trio.current_time()
        self._deadlines.expires_at = now + self._seconds_to_expiry()
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = self._around.alarms.set(self._ring(now) or now, self._ring)

    def _ring(self, now: float) -> float | None:
        """Do what time asks for. Returns when to look again."""
        if self._close_code is not None:
            return None
        since = self._backpressure.reading_since
        heard = None if since is None else max(self._transport.last_heard, since)
        due, again_at = self._deadlines.look(now, heard)
        match due:
            case Due.EXPIRY:
                self.close(4401, error("token_expired"))
            case Due.SILENCE:
                self.close(4408)
            case Due.PING:
                self._transport.ping()
                self.deliver()
        return again_at

    # ── what is said about it ────────────────────────────────────────────────────────────────

    def names(self) -> dict[str, Hashed]:
        """What a log line about it says."""
        return {
            "connection": hashed("connection", self._id),
            "user": hashed("user", self._session.identity.user),
        }

    def _log_answer(self, letter: Letter, answer: ServerEvent) -> None:
        match answer:
            case SendAck():
                self._telemetry.debug(
                    "send.acked",
                    **self.names(),
                    conversation=hashed_conversation(letter.conversation),
                    server_seq=answer.server_seq,
                )
            case Error(code):
                self._telemetry.debug("event.refused", **self.names(), code=code)
            case _:
                self._telemetry.debug(
                    "read.marked",
                    **self.names(),
                    conversation=hashed_conversation(letter.conversation),
                )
