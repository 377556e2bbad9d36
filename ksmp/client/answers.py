"""Which call an event from the relay answers. No I/O: events go in, waiting calls wake up.

    call       answered by                        or by an error whose `about` names
    send       SendAck of the same three ids      these ids
    ack_read   Read of one's own, at that number  its conversation: one call at a time for each
    resume     whatever only a good resume brings the type; one call at a time
    ping       Pong with its nonce                the type
    refresh    AuthOk                             the type; one call at a time

A call that was cancelled still takes its answer, so that the next one like it gets its own.
"""

from __future__ import annotations

from typing import Final

from anyio import Event
from msgspec import UNSET

from ksmp.client.errors import ClientError, RefusedError
from ksmp.events import (
    About,
    AckRead,
    Auth,
    AuthOk,
    ClientEvent,
    Error,
    InboxFrame,
    Ping,
    Pong,
    Read,
    Resume,
    ResumeComplete,
    Send,
    SendAck,
    ServerEvent,
)
from ksmp.types import UserId

_TYPES: Final[dict[type[ClientEvent], str]] = {
    kind: str(kind.__struct_config__.tag) for kind in (Send, AckRead, Resume, Ping, Auth)
}


class Call:
    """One event sent and the place where its answer arrives."""

    def __init__(self, event: ClientEvent) -> None:
        self.event = event
        self._answered = Event()
        self._outcome: ServerEvent | ClientError | None = None

    async def answer(self) -> ServerEvent:
        """The relay's answer.

        Raises:
            RefusedError: the answer is an error.
            ConnectionLostError: there will be no answer.
        """
        await self._answered.wait()
        assert self._outcome is not None
        if isinstance(self._outcome, ClientError):
            raise self._outcome.with_traceback(None)
        return self._outcome

    def settle(self, outcome: ServerEvent | ClientError) -> None:
        """Wake whoever waits; the first outcome counts."""
        if self._outcome is None:
            self._outcome = outcome
            self._answered.set()

    async def over(self) -> None:
        """Return when there is an outcome, whatever it is."""
        await self._answered.wait()


class Answers:
    """The calls of one connection that are under way, in the order in which they were made."""

    def __init__(self, user: UserId) -> None:
        self._user = user
        self._calls: dict[object, list[Call]] = {}
        self._lost: ClientError | None = None

    def expect(self, event: ClientEvent) -> Call:
        """A call whose answer is looked for from now on, even when nobody waits for it any more.

        Raises:
            ConnectionLostError: the connection has ended already.
        """
        if self._lost is not None:
            raise self._lost.with_traceback(None)
        call = Call(event)
        self._calls.setdefault(_key_of_call(event), []).append(call)
        return call

    def forget(self, call: Call) -> None:
        """The call's event was never sent."""
        key = _key_of_call(call.event)
        calls = self._calls.get(key, [])
        if call in calls:
            calls.remove(call)
            if not calls:
                del self._calls[key]

    def under_way(self, event: ClientEvent) -> Call | None:
        """A call whose answer could be confused with that to `event`."""
        return self._first(_key_of_call(event))

    def take(self, event: ServerEvent) -> bool:
        """Whether `event` answers a call, which has then been woken."""
        match event:
            case InboxFrame() | ResumeComplete() | Error(code="replay_truncated"):
                # They come only after a good resume, and are events as well.
                self._settle(self._first((Resume,)), event)
                return False
            case Error(about=About() as about):
                return self._settle(self._call_about(about), RefusedError(event))
            case Read():
                return self._settle(self._call_of_read(event), event)
            case SendAck() | Pong() | AuthOk():
                return self._settle(self._first(_key_of_answer(event)), event)
            case _:
                return False

    def lose(self, error: ClientError) -> None:
        """Wake every call with `error`, and every later one at once."""
        self._lost = error
        for calls in self._calls.values():
            for call in calls:
                call.settle(error)

    def _settle(self, call: Call | None, outcome: ServerEvent | ClientError) -> bool:
        if call is None:
            return False
        self.forget(call)
        call.settle(outcome)
        return True

    def _first(self, key: object) -> Call | None:
        calls = self._calls.get(key)
        return None if calls is None else calls[0]

    def _call_of_read(self, read: Read) -> Call | None:
        """One's own read at or past what was asked; a lower one is another device's."""
        call = self._first((AckRead, read.conversation_id))
        match call:
            case Call(event=AckRead() as asked) if (
                read.reader_user_id == self._user
                and read.peer_user_id == asked.peer_user_id
                and read.server_seq >= asked.server_seq
            ):
                return call
            case _:
                return None

    def _call_about(self, about: About) -> Call | None:
        """The oldest call of that type with those ids; an error names only ids that are valid."""
        for calls in self._calls.values():
            for call in calls:
                if _TYPES[type(call.event)] == about.type and _is_about(about, call.event):
                    return call
        return None


def _key_of_call(event: ClientEvent) -> object:
    match event:
        case Send(envelope=envelope):
            return (
                Send,
                envelope.conversation_id,
                envelope.recipient_user_id,
                envelope.idempotency_key,
            )
        case AckRead():
            return (AckRead, event.conversation_id)
        case Ping():
            return (Ping, event.nonce)
        case Resume() | Auth():
            return (type(event),)


def _key_of_answer(event: SendAck | Pong | AuthOk) -> object:
    match event:
        case SendAck():
            return (Send, event.conversation_id, event.recipient_user_id, event.idempotency_key)
        case Pong():
            return (Ping, event.nonce)
        case AuthOk():
            return (Auth,)


def _is_about(about: About, event: ClientEvent) -> bool:
    match event:
        case Send(envelope=envelope):
            pairs = (
                (about.conversation_id, envelope.conversation_id),
                (about.recipient_user_id, envelope.recipient_user_id),
                (about.message_id, envelope.message_id),
                (about.idempotency_key, envelope.idempotency_key),
            )
            return all(named is UNSET or named == ours for named, ours in pairs)
        case AckRead():
            return about.conversation_id is UNSET or about.conversation_id == event.conversation_id
        case _:
            return True
