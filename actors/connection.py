"""The actor of one client connection: what it may do, what it is told, and when it ends.

One task reads: it takes every message of one read, judges each, and routes sends and reads to
their conversations. Answers and frames are queued by whoever has them and written at once where
the socket allows; only while it does not, or while records must be read from the log, a second
task, the pump, runs. Reading stops while this client has too much unanswered or unread, so what
it can make the relay hold is bounded.

A connection is temporary: it is never restarted. The client resumes from its cursor.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol, assert_never

import trio
from msgspec import UNSET, UnsetType

from actors.alarms import Alarm, Alarms
from actors.delivery import Delivery, Need
from actors.failures import describe
from actors.inboxes import Inbox, Inboxes
from actors.letters import Letter, ReadLetter, SendLetter
from actors.limits import Limits
from actors.rates import Strikes, TokenBucket
from actors.router import Router
from actors.telemetry import Hashed, Telemetry, hashed, hashed_conversation
from actors.transport import PeerGoneError, SlowPeerError, Transport
from ksmp.codec import Codec, InvalidTextError, MalformedError, UnknownEventError
from ksmp.errors import error
from ksmp.events import (
    About,
    AckRead,
    Auth,
    AuthOk,
    ClientEvent,
    Connected,
    Error,
    Ping,
    Pong,
    Read,
    Resume,
    Send,
    SendAck,
    ServerEvent,
)
from ksmp.events import Limits as ClientLimits
from ksmp.types import PROTOCOL, ConnectionId, DeviceId, TimeMs, UserId
from storage.log import Log

EXTENSIONS: Final = ("auth", "chain", "read", "resume.complete")

TOLERATED_STRIKES: Final = 3
STRIKE_SECONDS: Final = 10.0
REFRESH_SECONDS: Final = 10.0
FLOOD_FACTOR: Final = 10
REPLACED_RETRY_MS: Final = 60_000
CLOSING_SECONDS: Final = 1.0
CLOCK_SKEW_MS: Final = 30_000


class Identity(Protocol):
    """Who a token says is connecting, and until when."""

    @property
    def user(self) -> UserId:
        """The authenticated user."""

    @property
    def device(self) -> DeviceId:
        """Which of the user's devices."""

    @property
    def expires_at_ms(self) -> TimeMs:
        """When the token expires."""

    def may_write_to(self, recipient: UserId) -> bool:
        """Whether the token allows sends to `recipient`."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every connection uses and none owns."""

    log: Log
    router: Router
    inboxes: Inboxes
    alarms: Alarms
    limits: Limits
    telemetry: Telemetry
    wall_clock: Callable[[], TimeMs]
    jitter: Callable[[], float]
    identify: Callable[[str], Identity | None]
    """The identity in a token, None where it is not valid."""


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
        self._identity = identity
        self._codec = codec
        self._transport = transport
        self._inbox = inbox
        self._around = surroundings
        self._limits = surroundings.limits
        self._telemetry = surroundings.telemetry
        now = trio.current_time()
        self._delivery = Delivery(
            inbox,
            surroundings.inboxes.recent,
            surroundings.log,
            codec,
            transport,
            self._limits.outbound_bytes,
            surroundings.telemetry,
        )
        self._rate = surroundings.inboxes.bucket(identity.user, now)
        self._excess = TokenBucket(  # of refusals, above what the rate itself allows
            (FLOOD_FACTOR - 1) * self._limits.sends_per_second,
            (FLOOD_FACTOR - 1) * self._limits.sends_burst,
            now,
        )
        self._strikes = Strikes(TOLERATED_STRIKES, STRIKE_SECONDS)
        self._expires_at = now + self._seconds_to_expiry()
        self._refreshed_at = -REFRESH_SECONDS
        self._unanswered = 0
        self._unanswered_bytes = 0
        self._reading_since: float = now  # the clock of silence stands while not reading
        self._room: trio.Event | None = None  # set when reading may go on
        self._pinged_after = -1.0
        self._alarm: Alarm | None = None
        self._reading = trio.CancelScope()
        self._nursery: trio.Nursery | None = None
        self._is_pumping = False
        self._pumped = trio.Event()
        self._is_draining = False
        self._answered = trio.Event()
        self._is_over = False
        self._close_code: int | None = None

    # ── its life ─────────────────────────────────────────────────────────────────────────────

    @property
    def device(self) -> DeviceId:
        """Which of the user's devices it is."""
        return self._identity.device

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
            self._fail(bug)
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
        self._send(self._connected())
        self._alarm = self._around.alarms.set(self._ring(now) or now, self._ring)
        self._around.inboxes.admit(self._inbox, self)
        self.deliver()
        self._telemetry.info(
            "connection.opened", **self._names(), subprotocol=self._codec.subprotocol
        )

    def _connected(self) -> Connected:
        limits = self._limits
        return Connected(
            PROTOCOL,
            self._identity.user,
            self._identity.device,
            self._id,
            self._around.wall_clock(),
            self._around.log.epoch,
            self._inbox.head,
            self._inbox.truncated_through,
            int(limits.keepalive_seconds * 1_000),
            self._identity.expires_at_ms,
            EXTENSIONS,
            ClientLimits(
                limits.max_ciphertext_bytes,
                limits.max_frame_bytes,
                limits.unacked_sends,
                limits.sends_per_second,
                limits.sends_burst,
                None,
            ),
        )

    async def _receive(self) -> None:
        """Read until something ends it."""
        with suppress(PeerGoneError):
            while True:
                for message in await self._transport.receive():
                    self._take(message)
                    if self._must_pause():
                        await self._pause()
                self.deliver()

    def _must_pause(self) -> bool:
        limits = self._limits
        return (
            self._unanswered >= limits.unacked_sends
            or self._unanswered_bytes >= limits.unacked_bytes
            or self._transport.queued_bytes >= limits.outbound_bytes
        )

    async def _pause(self) -> None:
        """Stop reading until answers have come and frames have gone."""
        self.deliver()
        while self._must_pause():
            self._room = trio.Event()
            await self._room.wait()
        self._room = None
        self._reading_since = trio.current_time()

    def _may_go_on(self) -> None:
        if self._room is not None and not self._must_pause():
            self._room.set()

    async def _finish(self) -> None:
        """Let the pump write what is left, for a moment, so that the close code arrives."""
        with trio.move_on_after(CLOSING_SECONDS):
            while self._is_pumping:
                await self._pumped.wait()

    def _closed(self) -> None:
        self._is_over = True
        self._answered.set()
        if self._alarm is not None:
            self._alarm.cancel()
        self._around.inboxes.dismiss(self._inbox, self)
        self._telemetry.info(
            "connection.closed",
            **self._names(),
            code=self._close_code,
            records=self._delivery.records_sent,
        )

    def close(self, code: int, reason: Error | None = None) -> None:
        """Say `reason`, close with `code`, read no more. The first call counts."""
        if self._close_code is not None:
            return
        self._close_code = code
        if reason is not None:
            self._send(reason)
        self._transport.close(code)
        self.deliver()
        self._reading.cancel()

    def _fail(self, bug: BaseException) -> None:
        """Our fault: contained and reported; nothing about its inside is told to the peer."""
        self._telemetry.error("connection.failed", **self._names(), **describe(bug))
        self.close(1011, error("internal"))

    def replaced(self) -> None:
        """A newer connection of this device has taken over."""
        self._telemetry.info("connection.replaced", **self._names())
        jittered = int(REPLACED_RETRY_MS * (1.0 + self._around.jitter()))
        self.close(4409, error("replaced", retry_after_ms=jittered))

    async def drain(self, retry_after_ms: int) -> None:
        """Accept nothing more, wait until everything accepted is answered, close with 1001."""
        if self._close_code is not None or self._is_draining:
            return
        self._is_draining = True
        self._send(error("draining", retry_after_ms=retry_after_ms))
        self.deliver()
        while self._unanswered and not self._is_over:
            self._answered = trio.Event()
            await self._answered.wait()
        self.close(1001)

    # ── writing ──────────────────────────────────────────────────────────────────────────────

    def settle(self, letter: Letter, answer: ServerEvent) -> None:
        """Queue the answer to a letter of this connection."""
        self._unanswered -= 1
        self._unanswered_bytes -= letter.size
        self._around.router.release(letter)
        try:
            self._send(answer)
            if self._telemetry.is_debug:
                self._log_answer(letter, answer)
        except Exception as bug:  # noqa: BLE001 - the commit that answers has others to answer
            self._fail(bug)
        if self._is_draining and not self._unanswered:
            self._answered.set()

    def tell_read(self, read: Read) -> None:
        """Send a read position, now or when there is room."""
        try:
            self._delivery.tell_read(read)
        except Exception as bug:  # noqa: BLE001 - as above
            self._fail(bug)

    def deliver(self) -> None:
        """Send what is queued and what the cursor has not passed, as far as it goes at once."""
        try:
            self._deliver()
        except Exception as bug:  # noqa: BLE001 - whoever delivers to many goes on to the next
            self._fail(bug)

    def _deliver(self) -> None:
        if self._nursery is None:
            return
        if self._is_pumping:
            self._may_go_on()
            return
        need = self._delivery.advance() if self._close_code is None else Need.NOTHING
        if self._transport.flush() and need is Need.NOTHING:
            self._may_go_on()
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
                self._may_go_on()
                need = self._delivery.advance() if self._close_code is None else Need.NOTHING
                if need is Need.NOTHING and self._transport.flush():
                    break
        finally:
            self._is_pumping = False
            self._pumped.set()

    def _send(self, event: ServerEvent) -> None:
        self._transport.send(self._codec.encode(event))

    # ── taking events ────────────────────────────────────────────────────────────────────────

    def _take(self, frame: bytes | bytearray) -> None:
        """Judge one message and act on it. Never waits."""
        if self._close_code is not None or self._is_draining:
            return
        try:
            event = self._codec.decode_client_event(frame)
        except MalformedError as malformed:
            self._strike("malformed", malformed.about)
        except UnknownEventError:
            self._strike("unknown_event")
        except InvalidTextError:
            self.close(1007)
        else:
            if self._telemetry.is_debug:
                self._telemetry.debug(
                    "event.received",
                    **self._names(),
                    kind=str(type(event).__struct_config__.tag),
                    bytes=len(frame),
                )
            self._act(event, len(frame))

    def _act(self, event: ClientEvent, size: int) -> None:
        match event:
            case Send():
                self._take_send(event, size)
            case AckRead():
                self._take_ack_read(event, size)
            case Resume():
                self._take_resume(event)
            case Ping(nonce):
                if self._transport.note_control():
                    self._send(Pong(nonce, self._around.wall_clock()))
            case Auth(token):
                self._take_auth(token)
            case _:
                assert_never(event)

    def _take_send(self, send: Send, size: int) -> None:
        envelope = send.envelope
        letter = SendLetter(envelope, self, size)
        if len(envelope.ciphertext) > self._limits.max_ciphertext_bytes:
            self._refuse_letter(letter, "too_large")
        elif envelope.sender_user_id != self._identity.user:
            self._refuse_letter(letter, "forbidden_sender")
        elif not self._identity.may_write_to(envelope.recipient_user_id):
            self._refuse_letter(letter, "forbidden_recipient")
        else:
            self._route(letter)

    def _take_ack_read(self, ack: AckRead, size: int) -> None:
        self._route(ReadLetter(ack, self._identity.user, self, size))

    def _route(self, letter: Letter) -> None:
        """Hand the letter to its conversation, within the rates."""
        wait = self._rate.take(self._transport.last_heard)
        if wait:
            self._refuse_letter(letter, "rate_limited", 1 + int(wait * 1_000))
            return
        key = letter.conversation
        not_routed = self._around.router.route(key, letter)
        if not_routed is not None:
            self._refuse_letter(letter, not_routed.code, not_routed.retry_after_ms)
            return
        self._unanswered += 1
        self._unanswered_bytes += letter.size
        if self._telemetry.is_debug:
            self._telemetry.debug(
                "send.routed", **self._names(), conversation=hashed_conversation(key)
            )

    def _refuse_letter(self, letter: Letter, code: str, retry_after_ms: int = 1_000) -> None:
        """Refuse a send or read; whoever goes on at ten times the rate is cut off."""
        self._refuse(code, letter.about(), retry_after_ms)
        if self._excess.take(self._transport.last_heard):
            self.close(4429)

    def _take_resume(self, resume: Resume) -> None:
        about = About("ksmpv3.resume")
        head = self._inbox.head
        cursor = resume.last_global_inbox_seq
        epoch = self._around.log.epoch
        if self._delivery.is_resumed:
            self._refuse("already_resumed", about)
        elif cursor is None:
            self._delivery.resume_from_now_on()
        elif resume.epoch is not UNSET and resume.epoch != epoch:
            self._send(error("epoch_changed", about, epoch=epoch, head_global_inbox_seq=head))
        elif cursor > head:
            self._send(error("cursor_ahead", about, head_global_inbox_seq=head))
        else:
            self._delivery.resume(cursor)
        if self._delivery.is_resumed and self._telemetry.is_debug:
            self._telemetry.debug("connection.resumed", **self._names(), head=head)

    def _take_auth(self, token: str) -> None:
        about = About("ksmpv3.auth")
        now = trio.current_time()
        if now < self._refreshed_at + REFRESH_SECONDS:
            wait = self._refreshed_at + REFRESH_SECONDS - now
            self._refuse("rate_limited", about, 1 + int(wait * 1_000))
            return
        fresh = self._around.identify(token)
        present = self._identity
        if fresh is None or (fresh.user, fresh.device) != (present.user, present.device):
            self.close(4401, error("unauthenticated", about))
            return
        self._refreshed_at = now
        self._identity = fresh
        self._expires_at = now + self._seconds_to_expiry()
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = self._around.alarms.set(self._ring(now) or now, self._ring)
        self._send(AuthOk(fresh.expires_at_ms))

    def _strike(self, code: str, about: About | UnsetType = UNSET) -> None:
        """Answer what is not of this contract; the one too many also closes."""
        self._refuse(code, about)
        if self._strikes.strike(trio.current_time()):
            self.close(4400)

    def _refuse(self, code: str, about: About | UnsetType, retry_after_ms: int = 1_000) -> None:
        self._send(error(code, about, retry_after_ms=retry_after_ms))
        if self._telemetry.is_debug:
            self._telemetry.debug("event.refused", **self._names(), code=code)

    # ── time ─────────────────────────────────────────────────────────────────────────────────

    def _seconds_to_expiry(self) -> float:
        """From now to `exp`; a token accepted within the clock skew lives to the end of that."""
        left = self._identity.expires_at_ms - self._around.wall_clock()
        return (left if left > 0 else left + CLOCK_SKEW_MS) / 1_000

    def _ring(self, now: float) -> float | None:
        """What time asks for: an expired token, a silent line. Returns when to look again."""
        if self._close_code is not None:
            return None
        if now >= self._expires_at:
            self.close(4401, error("token_expired"))
            return None
        return min(self._expires_at, self._keep_alive(now))

    def _keep_alive(self, now: float) -> float:
        keepalive = self._limits.keepalive_seconds
        if self._room is not None:  # the silence is ours
            return now + keepalive
        heard = max(self._transport.last_heard, self._reading_since)
        if now >= heard + 2 * keepalive:
            self.close(4408)
        elif now < heard + keepalive:
            return heard + keepalive
        elif self._pinged_after != heard:
            self._pinged_after = heard
            self._transport.ping()
            self.deliver()
        return heard + 2 * keepalive

    # ── what is said about it ────────────────────────────────────────────────────────────────

    def _names(self) -> dict[str, Hashed]:
        return {
            "connection": hashed("connection", self._id),
            "user": hashed("user", self._identity.user),
        }

    def _log_answer(self, letter: Letter, answer: ServerEvent) -> None:
        match answer:
            case SendAck():
                self._telemetry.debug(
                    "send.acked",
                    **self._names(),
                    conversation=hashed_conversation(letter.conversation),
                    server_seq=answer.server_seq,
                )
            case Error(code):
                self._telemetry.debug("event.refused", **self._names(), code=code)
            case _:
                self._telemetry.debug(
                    "read.marked",
                    **self._names(),
                    conversation=hashed_conversation(letter.conversation),
                )
