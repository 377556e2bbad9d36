"""What a client may ask on one connection, judged event by event, and what it is told at once.

Everything here is synchronous. Sends and reads go on to their conversation as letters, whose
answers come to the connection later; all else is answered on the spot.
"""

from __future__ import annotations

from typing import Final, Protocol, assert_never

import trio
from msgspec import UNSET, UnsetType

from actors.delivery import Delivery
from actors.inboxes import Inbox
from actors.letters import Correspondent, Letter, ReadLetter, SendLetter, concerning
from actors.rates import Strikes, retry_after_ms
from actors.surroundings import Identity, Surroundings
from actors.telemetry import Hashed, hashed_conversation
from actors.transport import Transport
from ksmp.codec import Codec
from ksmp.errors import error
from ksmp.events import (
    About,
    AckRead,
    Auth,
    AuthOk,
    ClientEvent,
    Error,
    Ping,
    Pong,
    Resume,
    Send,
    ServerEvent,
)
from ksmp.malformed import InvalidTextError, MalformedError, UnknownEventError
from storage.failpoints import failpoint
from storage.fault_orders import Place

TOLERATED_STRIKES: Final = 3
FREE_REFUSALS: Final = 20
"""Of one user, at once, before it counts as going on: whoever errs now and then never waits."""

STRIKE_SECONDS: Final = 10.0
REFRESH_SECONDS: Final = 10.0


class Line(Correspondent, Protocol):
    """The connection, as its session uses it."""

    def send(self, event: ServerEvent) -> None:
        """Queue an event."""

    def close(self, code: int, reason: Error | None = None) -> None:
        """Say `reason`, close with `code`, take no more."""

    def expect(self, letter: Letter) -> None:
        """A letter is on its way; its answer will come to `settle`."""

    def live_until_expiry(self) -> None:
        """The identity has been refreshed: its expiry is another."""

    def names(self) -> dict[str, Hashed]:
        """What a log line about it says."""


class Session:
    """Owns who the client is, what it has used up of its rates, and its breaches of contract."""

    def __init__(
        self,
        line: Line,
        identity: Identity,
        codec: Codec,
        transport: Transport,
        inbox: Inbox,
        delivery: Delivery,
        surroundings: Surroundings,
    ) -> None:
        now = trio.current_time()
        self.identity = identity
        self.held_back_until = 0.0
        """Until when the connection should not be read, for what it was refused."""

        self._line = line
        self._codec = codec
        self._transport = transport
        self._inbox = inbox
        self._delivery = delivery
        self._around = surroundings
        self._telemetry = surroundings.telemetry
        self._traffic = surroundings.traffic
        self._allowance = surroundings.inboxes.allowance(identity.user, now)
        self._strikes = Strikes(TOLERATED_STRIKES, STRIKE_SECONDS)
        self._refreshed_at = -REFRESH_SECONDS
        self._routing = failpoint(surroundings.failpoints, Place.ROUTE)

    def end(self) -> None:
        """Take nothing more, and let go of the line.

        So a connection that is over is freed at once, with all that hangs on it, and does not wait
        for the garbage collector.
        """
        del self._line

    def take(self, frame: bytes | bytearray) -> None:
        """Judge one message and act on it."""
        self._traffic.received += 1
        self._traffic.received_bytes += len(frame)
        try:
            event = self._codec.decode_client_event(frame)
        except MalformedError as malformed:
            self._strike("malformed", malformed.about)
        except UnknownEventError:
            self._strike("unknown_event")
        except InvalidTextError:
            self._line.close(1007)
        else:
            if self._telemetry.is_debug:
                self._telemetry.debug(
                    "event.received",
                    **self._line.names(),
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
                    self._line.send(Pong(nonce, self._around.wall_clock()))
                else:
                    self._line.close(4429)
            case Auth(token):
                self._take_auth(token)
            case _:
                assert_never(event)

    def _take_send(self, send: Send, size: int) -> None:
        envelope = send.envelope
        letter = SendLetter(envelope, self._line, size)
        if len(envelope.ciphertext) > self._around.limits.max_ciphertext_bytes:
            self._refuse(error("too_large", letter.about()))
        elif envelope.sender_user_id != self.identity.user:
            self._refuse(error("forbidden_sender", letter.about()))
        elif not self.identity.may_write_to(envelope.recipient_user_id):
            self._refuse(error("forbidden_recipient", letter.about()))
        else:
            self._route(letter)

    def _take_ack_read(self, ack: AckRead, size: int) -> None:
        self._route(ReadLetter(ack, self.identity.user, self._line, size))

    def _route(self, letter: Letter) -> None:
        """Hand the letter to its conversation, within the rates."""
        wait = self._allowance.sends.take(self._transport.last_heard)
        if wait:
            self._refuse(error("rate_limited", letter.about(), retry_after_ms=retry_after_ms(wait)))
            return
        if self._routing is not None and self._routing.hit(concerning([letter])):
            return
        key = letter.conversation
        not_routed = self._around.router.route(key, letter)
        if not_routed is not None:
            self._refuse(
                error(not_routed.code, letter.about(), retry_after_ms=not_routed.retry_after_ms)
            )
            return
        self._line.expect(letter)
        self._traffic.sends += isinstance(letter, SendLetter)
        if self._telemetry.is_debug:
            self._telemetry.debug(
                "send.routed", **self._line.names(), conversation=hashed_conversation(key)
            )

    def _take_resume(self, resume: Resume) -> None:
        about = About("ksmpv3.resume")
        head = self._inbox.head
        cursor = resume.last_global_inbox_seq
        epoch = self._around.log.epoch
        if self._delivery.is_resumed:
            self._refuse(error("already_resumed", about))
        elif cursor is None:
            self._delivery.resume_from_now_on()
        elif resume.epoch is not UNSET and resume.epoch != epoch:
            self._refuse(error("epoch_changed", about, epoch=epoch, head_global_inbox_seq=head))
        elif cursor > head:
            self._refuse(error("cursor_ahead", about, head_global_inbox_seq=head))
        else:
            self._delivery.resume(cursor)
        if self._delivery.is_resumed and self._telemetry.is_debug:
            self._telemetry.debug("connection.resumed", **self._line.names(), head=head)

    def _take_auth(self, token: str) -> None:
        about = About("ksmpv3.auth")
        now = trio.current_time()
        if now < self._refreshed_at + REFRESH_SECONDS:
            wait = self._refreshed_at + REFRESH_SECONDS - now
            self._refuse(error("rate_limited", about, retry_after_ms=retry_after_ms(wait)))
            return
        fresh = self._around.identify(token)
        present = self.identity
        if fresh is None or (fresh.user, fresh.device) != (present.user, present.device):
            self._line.close(4401, error("unauthenticated", about))
            return
        self._refreshed_at = now
        self.identity = fresh
        self._line.live_until_expiry()
        self._line.send(AuthOk(fresh.expires_at_ms))

    def _strike(self, code: str, about: About | UnsetType = UNSET) -> None:
        """Answer what is not of this contract; the one too many also closes."""
        self._refuse(error(code, about))
        if self._strikes.strike(trio.current_time()):
            self._line.close(4400)

    def _refuse(self, refusal: Error) -> None:
        """Say no; whoever goes on asking at ten times the rate of sends is cut off.

        Until then all of these together are read at a bounded rate, since each refusal costs the
        event loop nearly as much as a send.
        """
        self._line.send(refusal)
        if self._telemetry.is_debug:
            self._telemetry.debug("event.refused", **self._line.names(), code=refusal.code)
        refusals = self._allowance.refusals
        if refusals.take(self._transport.last_heard):
            self._line.close(4429)
        elif refusals.taken > FREE_REFUSALS:
            now = trio.current_time()
            self.held_back_until = now + self._around.inboxes.refusing.charge(now)
