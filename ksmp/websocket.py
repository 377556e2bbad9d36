"""WebSocket framing without I/O (RFC 6455), the same for the relay and for its clients.

Bytes from the peer go in, whole messages come out; bytes for the peer pile up in `outgoing`.
No sockets, no clocks: the caller says what time it is.

    ClientFraming ◄── frames ──► ServerFraming
      masks what                   sends unmasked
      it sends

Both are made once the relay has accepted the upgrade, the client's by `ksmp.upgrade`.

What breaks the rules closes the connection with the code it earns, and what was complete before
it in the same read is still delivered:

    1002  the framing is wrong           1009  a message too large, or in too many fragments
    1003  the other kind of message      4429  too many control frames in a second
    1007  a close reason is not UTF-8

The rules themselves are those of `websockets`' sans-I/O core. Unfragmented messages of the right
kind, which is all that honest peers send, are unpacked before it: that costs a quarter of the
time, and nothing else passes there.
"""

from __future__ import annotations

import logging
from struct import Struct
from typing import Final

from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side, State

try:
    from websockets.speedups import apply_mask
except ImportError:  # a platform without the compiled extension
    from websockets.utils import apply_mask

WRONG_KIND: Final = 1003
TOO_BIG: Final = 1009
FLOODING: Final = 4429

MAX_FRAGMENTS: Final = 64
MAX_CONTROL_PAYLOAD: Final = 125
CONTROL_WINDOW_SECONDS: Final = 1.0

_FIN: Final = 0x80
_MASKED: Final = 0x80
_header_of_7_bits = Struct("!BB").pack
_header_of_16_bits = Struct("!BBH").pack
_header_of_64_bits = Struct("!BBQ").pack

# At debug the core logs what it receives. This logger is in no tree where one could turn it on.
SILENT: Final = logging.Logger("ksmp.websocket")  # noqa: LOG001
SILENT.disabled = True


def frame_header(is_text: bool, length: int) -> bytes:
    """What precedes a whole, unmasked message of `length` bytes; the payload follows as it is.

    So the encoded bytes of one event are shared by every connection they are sent to.
    """
    first = _FIN | (Opcode.TEXT if is_text else Opcode.BINARY)
    if length < 126:
        return _header_of_7_bits(first, length)
    if length < 65_536:
        return _header_of_16_bits(first, 126, length)
    return _header_of_64_bits(first, 127, length)


class Framing:
    """One end of an open WebSocket. Whole messages come out, in order, until either side closes.

    Holds at most one message of `max_frame_bytes` in parts, and nothing of what follows a close.
    """

    def __init__(
        self,
        side: Side,
        is_text: bool,
        max_frame_bytes: int,
        max_fragments: int,
        control_frames_per_second: int | None,
    ) -> None:
        self._core = _Core(side, is_text, max_frame_bytes, max_fragments, control_frames_per_second)
        self._is_masked = side is Side.SERVER
        self._first_byte = _FIN | (Opcode.TEXT if is_text else Opcode.BINARY)
        self._max_frame_bytes = max_frame_bytes
        self._incomplete = bytearray()  # the beginning of a message
        self._needed = 0  # how long it must be before another look at it pays
        self.unread: bytes | bytearray = b""

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent and received: no close frame has passed either way."""
        return self._core.state is State.OPEN

    @property
    def is_finished(self) -> bool:
        """Whether nothing the peer may still send matters: it has closed, or failed."""
        core = self._core
        return core.close_rcvd is not None or core.has_failed or core.state is State.CLOSED

    @property
    def close_code_received(self) -> int | None:
        """The code in the peer's close frame, 1005 where that has none; None before it came."""
        close = self._core.close_rcvd
        return None if close is None else int(close.code)

    @property
    def close_code_sent(self) -> int | None:
        """The code in our close frame, None before there is one."""
        close = self._core.close_sent
        return None if close is None else int(close.code)

    def receive(
        self, chunk: bytes | bytearray, now: float, most_irregular: int | None = None
    ) -> list[bytes | bytearray]:
        """Every message that `chunk` completes. `now` is in seconds, on any clock.

        Look at `outgoing` afterwards: pongs and close frames are there. Of anything but whole
        messages, no more than `most_irregular` bytes are looked at: the rest is `unread` then, to
        be given again. A read can hold ten thousand fragments, which take their time.
        """
        core = self._core
        self.unread = b""
        if self._incomplete:
            self._incomplete += chunk
            if len(self._incomplete) < self._needed:
                return []
            chunk, self._incomplete = self._incomplete, bytearray()
        messages: list[bytes | bytearray] = []
        if core.is_between_frames:
            taken, is_regular = self._take_regular(chunk, messages)
            if is_regular:
                if taken < len(chunk):
                    self._incomplete += chunk[taken:]
                return messages
            chunk = chunk[taken:]
        if most_irregular is not None and len(chunk) > most_irregular:
            chunk, self.unread = chunk[:most_irregular], chunk[most_irregular:]
        messages += core.receive(chunk, now)
        return messages

    def receive_eof(self) -> None:
        """Note that the peer's bytes have ended."""
        self._core.receive_eof()

    def forget(self) -> None:
        """Let go of what has come of a message that will not be completed: the line is gone."""
        self._incomplete = bytearray()
        self._core.forget()

    def ping(self, payload: bytes = b"") -> None:
        """Put a ping into `outgoing`; after a close, nothing."""
        if self.is_open:
            self._core.send_ping(payload)

    def note_control(self, now: float) -> bool:
        """Count an event of the application with the control frames; False for one too many."""
        return self._core.controls.admits(now)

    def close(self, code: int, reason: str = "") -> None:
        """Put a close frame into `outgoing`. After a close by either side this changes nothing."""
        if self.is_open:
            self._core.send_close(code, reason)

    def outgoing(self) -> list[bytes]:
        """Bytes to send to the peer, each returned once."""
        return [piece for piece in self._core.data_to_send() if piece]

    def _take_regular(
        self, buffer: bytes | bytearray, messages: list[bytes | bytearray]
    ) -> tuple[int, bool]:
        """Unpack whole messages of the right kind from the front of `buffer`.

        Returns how far that went, and whether all that follows is the beginning of another such
        message. If not, what follows is the core's to judge.
        """
        position, end = 0, len(buffer)
        mask_bytes = 4 if self._is_masked else 0
        while end - position >= 2:
            second = buffer[position + 1]
            if buffer[position] != self._first_byte or (second >= _MASKED) != self._is_masked:
                return position, False
            length, payload = second & 0x7F, position + 2
            if length > 125:
                payload += 2 if length == 126 else 8
                if end < payload:
                    self._needed = payload - position
                    return position, True
                length = int.from_bytes(buffer[position + 2 : payload], "big")
            if length > self._max_frame_bytes:
                return position, False
            payload += mask_bytes
            after = payload + length
            if end < after:
                self._needed = after - position
                return position, True
            message = buffer[payload:after]
            if mask_bytes:
                message = apply_mask(message, buffer[payload - mask_bytes : payload])
            messages.append(message)
            position = after
        self._needed = 2
        return position, position == end or buffer[position] == self._first_byte


class ServerFraming(Framing):
    """The relay's end, once the upgrade is done. Messages are sent as `frame_header` + payload."""

    def __init__(
        self,
        *,
        is_text: bool,
        max_frame_bytes: int,
        max_fragments: int = MAX_FRAGMENTS,
        control_frames_per_second: int = 20,
    ) -> None:
        super().__init__(
            Side.SERVER, is_text, max_frame_bytes, max_fragments, control_frames_per_second
        )


class ClientFraming(Framing):
    """A client's end, as `ClientHandshake` returns it. It masks what it sends."""

    def __init__(
        self, *, is_text: bool, max_frame_bytes: int, max_fragments: int = MAX_FRAGMENTS
    ) -> None:
        super().__init__(Side.CLIENT, is_text, max_frame_bytes, max_fragments, None)
        self._send = self._core.send_text if is_text else self._core.send_binary

    def send(self, message: bytes) -> None:
        """Put one message into `outgoing`; after a close, nothing."""
        if self.is_open:
            self._send(message)


class ControlWindow:
    """Counts control frames: no more than so many within any second."""

    __slots__ = ("_allowed", "_times")

    def __init__(self, allowed: int | None) -> None:
        """None allows as many as come."""
        self._allowed = allowed
        self._times: list[float] = []  # as many as are allowed, at most

    def admits(self, now: float) -> bool:
        """Count one; False where it is one too many."""
        if self._allowed is None:
            return True
        times = self._times
        while times and times[0] <= now - CONTROL_WINDOW_SECONDS:
            del times[0]
        if len(times) >= self._allowed:
            return False
        times.append(now)
        return True


class _Core(Protocol):
    """The library's state machine, with this protocol's limits judged before it acts on a frame."""

    # The library's own attributes are as many as Python keeps compactly; with ours in the same
    # dictionary, every connection would cost a KiB more.
    __slots__ = (
        "_fragments",
        "_fragments_bytes",
        "_is_mid_frame",
        "_max_fragments",
        "_max_frame_bytes",
        "_messages",
        "_now",
        "_opcode",
        "controls",
        "has_failed",
    )

    def __init__(
        self,
        side: Side,
        is_text: bool,
        max_frame_bytes: int,
        max_fragments: int,
        control_frames_per_second: int | None,
    ) -> None:
        # The core would count a control frame against what is left for the message it interrupts,
        # so the limit on each frame is kept here, and there is none on the message.
        super().__init__(
            side, max_size=(None, max(max_frame_bytes, MAX_CONTROL_PAYLOAD)), logger=SILENT
        )
        self.has_failed = False
        self._opcode = Opcode.TEXT if is_text else Opcode.BINARY
        self._max_frame_bytes = max_frame_bytes
        self._max_fragments = max_fragments
        self.controls = ControlWindow(control_frames_per_second)
        self._now = 0.0
        self._is_mid_frame = False
        self._fragments: list[bytes] = []
        self._fragments_bytes = 0
        self._messages: list[bytes | bytearray] = []

    @property
    def is_between_frames(self) -> bool:
        """Whether the next byte begins a frame, and that frame may begin a message."""
        return self._state is State.OPEN and not self._fragments and not self._is_mid_frame

    def receive(self, chunk: bytes | bytearray, now: float) -> list[bytes | bytearray]:
        """The messages completed by `chunk`, up to the first frame that ends the connection."""
        self._now = now
        # The parser takes a frame's header before its payload is there: what it has not taken
        # does not tell whether it waits for a frame to begin or to end.
        self._is_mid_frame = self._is_mid_frame or bool(chunk)
        if self._state is not State.CLOSED:
            self.receive_data(chunk)
        self.events_received()
        messages, self._messages = self._messages, []
        return messages

    def forget(self) -> None:
        """See `Framing.forget`."""
        self.reader.discard()
        self._fragments.clear()

    def recv_frame(self, frame: Frame) -> None:
        """Act on one well-formed frame. Called by the parser, once for each."""
        self._is_mid_frame = bool(self.reader.buffer)
        if frame.opcode is Opcode.CLOSE:
            # It may come between fragments (RFC 6455 section 5.4): their message is given up.
            self.current_size = None
            self._fragments.clear()
            super().recv_frame(frame)
        elif self._state is not State.OPEN:
            return  # after our close only the peer's close counts
        elif frame.opcode is Opcode.PING or frame.opcode is Opcode.PONG:
            if self.controls.admits(self._now):
                super().recv_frame(frame)
            else:
                self.fail(FLOODING)
        elif frame.opcode is not Opcode.CONT and frame.opcode is not self._opcode:
            self.fail(WRONG_KIND)
        else:
            super().recv_frame(frame)  # the order of fragments
            self._take_fragment(frame)
        frame.data = b""  # the parser holds on to the frame until there is another

    def fail(self, code: int, reason: str = "") -> None:
        """Close with `code` at once: what the peer has sent or will send is not looked at.

        The library's own words about the reason are no part of the protocol, and not sent.
        """
        self.has_failed = True
        super().fail(code)

    def _take_fragment(self, frame: Frame) -> None:
        self._fragments.append(bytes(frame.data))
        self._fragments_bytes += len(frame.data)
        if (
            self._fragments_bytes > self._max_frame_bytes
            or len(self._fragments) > self._max_fragments
        ):
            self._fragments.clear()
            self.fail(TOO_BIG)
            return
        room = self._max_frame_bytes - self._fragments_bytes
        if frame.fin:
            self._messages.append(b"".join(self._fragments))
            self._fragments.clear()
            self._fragments_bytes = 0
            room = self._max_frame_bytes
        self.max_fragment_size = max(room, MAX_CONTROL_PAYLOAD)
