"""What a test's clients do and see, as a history for `ksmp-relay check`.

Nobody has to say what they send: the clients tell their witness, a `RecordedLine`.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic_ns
from types import TracebackType
from typing import Final

import trio

from bench.checker.digests import Envelope
from bench.checker.records import Frame as RecordedFrame
from bench.history import Recorder
from tests.wire import raw
from tests.wire.clients import Frame
from tests.wire.codecs import MSGPACK, Event, RawFrame

UNSETTLED: Final = ("outcome_unknown", "internal")

Key = tuple[str, str, str]
"""What a send is matched with its answer by: the conversation, the recipient, the key."""


class Recording:
    """All clients of one relay, over all ends of its process."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.first_attempts: dict[tuple[object, ...], int] = {}
        self.users: set[str] = set()
        self.read_to_the_end: set[str] = set()
        """Those whose inbox was read once more, and nothing was sent since."""
        self._is_up = True

    @property
    def unread(self) -> frozenset[str]:
        """Those whose inbox is still to be read once more."""
        return frozenset(self.users - self.read_to_the_end)

    def line(self, connected: Event, subprotocol: str, opening_began_ns: int) -> RecordedLine:
        """A connection that was told `ksmpv3.connected`; opening it began at this time."""
        return RecordedLine(self, connected, subprotocol, opening_began_ns)

    def down(self, how: str) -> None:
        """See `tests.wire.relay_process.ProcessWitness`."""
        _on_the_loop(lambda: self._turn(is_up=False, how=how))

    def up(self) -> None:
        """See `tests.wire.relay_process.ProcessWitness`."""
        _on_the_loop(lambda: self._turn(is_up=True))

    @contextmanager
    def window(self, kind: str, sync_ms: int = 0) -> Iterator[None]:
        """A time of calm (`baseline`), or of a fault that strikes no conversation in particular."""
        number = self.recorder.begin(kind, (), sync_ms)
        yield
        self.recorder.end(number)

    def _turn(self, *, is_up: bool, how: str = "") -> None:
        if is_up and not self._is_up:
            self.recorder.up()
        elif self._is_up and not is_up:
            self.recorder.down(how)
        self._is_up = is_up


class RecordedLine:
    """One connection: the witness of whoever holds it."""

    def __init__(
        self, recording: Recording, connected: Event, subprotocol: str, opening_began_ns: int
    ) -> None:
        self._recording = recording
        self._recorder = recording.recorder
        self._sends: defaultdict[Key, deque[int]] = defaultdict(deque)
        self._reads: defaultdict[tuple[str, str], deque[tuple[int, int]]] = defaultdict(deque)
        self.user: str = connected["userId"]
        recording.users.add(self.user)
        self.number = self._recorder.connected(
            self._recorder.user(self.user),
            device=connected["deviceId"],
            subprotocol=subprotocol,
            epoch=connected["epoch"],
            head=connected["headGlobalInboxSeq"],
            opening_began_ns=opening_began_ns,
        )
        self.reads_to_the_end = False

    def told(self, event: Event) -> None:
        """See `tests.wire.clients.Witness`."""
        match event.get("type"):
            case "ksmpv3.send":
                self._send(event["envelope"])
            case "ksmpv3.resume":
                cursor = event["lastGlobalInboxSeq"]
                self._recorder.resume(self.number, cursor, is_final=self.reads_to_the_end)
            case "ksmpv3.ack.read":
                self._read(event)

    def received(self, *frames: Frame) -> None:
        """See `tests.wire.clients.Witness`."""
        for frame in frames:
            event = frame.event
            match event["type"]:
                case "ksmpv3.inbox.frame":
                    self._recorder.frames(self.number, (self._frame(event, frame.raw),))
                case "ksmpv3.send.ack":
                    self._recorder.ok(
                        self._sends[_key(event)].popleft(),
                        server_seq=event["serverSeq"],
                        received_ms=event["serverReceivedAtMs"],
                        chain=event["chain"],
                        raw=_bytes(frame.raw),
                    )
                case "ksmpv3.resume.complete":
                    self._recorder.resumed(self.number, event["globalInboxSeq"])
                    if self.reads_to_the_end:
                        self._recording.read_to_the_end.add(self.user)
                case "ksmpv3.read":
                    self._position(event)
                case "ksmpv3.error":
                    self._error(event)

    def closed(self, code: int | None = None) -> None:
        """See `tests.wire.clients.Witness`."""
        self._recorder.closed(self.number, code)

    # ── what is sent ─────────────────────────────────────────────────────────────────────────

    def _send(self, envelope: Event) -> None:
        self._recording.read_to_the_end.clear()
        # Only the very same envelope is offered again; with another it is a conflict.
        words = tuple(sorted(envelope.items()))
        first = self._recording.first_attempts.get(words)
        if first is None:
            attempt = self._recorder.send(
                self.number,
                self._conversation(envelope["conversationId"], envelope["recipientUserId"]),
                self._recorder.content(envelope["ciphertext"]),
                created_ms=envelope["clientCreatedAtMs"],
                message_id=envelope["messageId"],
                key=envelope["idempotencyKey"],
                content_type=envelope["contentType"],
            )
            self._recording.first_attempts[words] = attempt
        else:
            attempt = self._recorder.again(self.number, first)
        self._sends[_key(envelope)].append(attempt)

    def _read(self, event: Event) -> None:
        self._recording.read_to_the_end.clear()
        talk = (event["conversationId"], event["peerUserId"])
        seq, private = event["serverSeq"], event.get("private", False)
        number = self._recorder.read(self.number, self._conversation(*talk), seq, private=private)
        self._reads[talk].append((number, seq))

    # ── what has come ────────────────────────────────────────────────────────────────────────

    def _position(self, event: Event) -> None:
        """The answer to what was asked first, unless it says less than was asked.

        Another device may have read less meanwhile, and that is told too.
        """
        reader, seq = event["readerUserId"], event["serverSeq"]
        other = event["peerUserId"] if reader == self.user else reader
        talk = (event["conversationId"], other)
        waiting = self._reads[talk]
        if reader == self.user and waiting and seq >= waiting[0][1]:
            self._recorder.read_ok(waiting.popleft()[0], seq)
            return
        number = self._conversation(*talk)
        self._recorder.position(self.number, number, self._recorder.user(reader), seq)

    def _error(self, event: Event) -> None:
        about = event.get("about", {})
        told = {
            "code": event["code"],
            "action": event["action"],
            "retry_after_ms": event.get("retryAfterMs"),
            "message": event["message"],
        }
        if about.get("type") == "ksmpv3.send" and "idempotencyKey" in about:
            attempt = self._sends[_key(about)].popleft()
            if event["code"] not in UNSETTLED:
                self._recorder.fail(attempt, **told)
                return
            self._recorder.info(attempt, event["code"])
        self._recorder.error(
            self.number,
            **told,
            about=about.get("type"),
            truncated_through=event.get("truncatedThrough"),
        )

    def _frame(self, event: Event, raw: RawFrame) -> RecordedFrame:
        sent = event["envelope"]
        envelope = Envelope(
            sent["conversationId"],
            sent["messageId"],
            sent["senderUserId"],
            sent["recipientUserId"],
            sent["contentType"],
            sent["clientCreatedAtMs"],
            sent["idempotencyKey"],
            hashlib.sha256(sent["ciphertext"]).digest(),
        )
        return self._recorder.frame(
            envelope,
            global_inbox_seq=event["globalInboxSeq"],
            previous=event["previousGlobalInboxSeq"],
            server_seq=sent["serverSeq"],
            received_ms=sent["serverReceivedAtMs"],
            chain=event["chain"],
            raw=_bytes(raw),
        )

    def _conversation(self, conversation_id: str, other: str) -> int:
        self._recording.users.add(other)
        return self._recorder.conversation(conversation_id, self.user, other)


class RecordedSocket(raw.RawSocket):
    """A blocking client past `ksmpv3.connected`, whose events are recorded."""

    def __init__(self, address: tuple[str, int], token: str, recording: Recording) -> None:
        began_ns = monotonic_ns()
        super().__init__(address)
        self.send(raw.request(raw.host_of(address), token=token, codec=MSGPACK))
        assert self.response().status == 101
        connected = MSGPACK.decode(self.message())
        self._line = recording.line(connected, MSGPACK.subprotocol, began_ns)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, traceback)
        self._line.closed()

    def tell(self, *events: Event) -> None:
        """Send events, in one write."""
        for event in events:
            self._line.told(event)
        self.send(*(raw.message(MSGPACK.encode(event)) for event in events))

    def take(self) -> Event:
        """The next event."""
        message = self.message()
        event = MSGPACK.decode(message)
        self._line.received(Frame(message, event))
        return event


def _on_the_loop(call: Callable[[], None]) -> None:
    """Call where the clients are: a recorder is not for several threads."""
    try:
        trio.from_thread.run_sync(call)
    except RuntimeError:  # this is no worker of the loop's: it is the clients' own thread
        call()


def _key(event: Event) -> Key:
    return event["conversationId"], event["recipientUserId"], event["idempotencyKey"]


def _bytes(raw: RawFrame) -> bytes:
    return raw.encode() if isinstance(raw, str) else raw
