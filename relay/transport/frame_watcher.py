"""A judge of WebSocket frames by their headers alone, for whoever leaves the rest to a library.

No I/O. It is shown the front of what has arrived and says how long the frame there is, or with
which code it ends the connection (RFC 6455 section 5; protocol sections 4 and 6):

    1002  an opcode that is none, no mask, reserved bits, a control frame in parts or over
          125 bytes, parts of messages out of order
    1003  the other kind of message
    1009  a message of more than `max_frame_bytes`, or in too many parts
    4429  too many control frames in a second

The judgements, and their order where a frame deserves several, are those of
`ksmp.websocket.ServerFraming`, but made before the payload has arrived. What only the payload can
tell, text that is not UTF-8 and a close body that is none, is not judged here.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from websockets.frames import Opcode

from ksmp.websocket import (
    FLOODING,
    MAX_CONTROL_PAYLOAD,
    TOO_BIG,
    WRONG_KIND,
    ControlWindow,
)

PROTOCOL_ERROR: Final = 1002

_FIN, _RESERVED, _OPCODE = 0x80, 0x70, 0x0F
_MASKED, _LENGTH = 0x80, 0x7F
_MASK_BYTES: Final = 4
_EXTENDED_BYTES: Final = {126: 2, 127: 8}
_OPCODES: Final = frozenset(Opcode)
_CONTROL: Final = frozenset({Opcode.CLOSE, Opcode.PING, Opcode.PONG})


class FrameRefusedError(Exception):
    """The frame ends the connection, with a close code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class WatchedFrame(NamedTuple):
    """A frame that may pass, as its header describes it."""

    opcode: Opcode
    size: int
    """Bytes of the whole frame: header, mask and payload."""

    ends_message: bool
    """Whether it is the last, or the only one, of a message."""


class FrameWatcher:
    """Knows what has passed of the message under way, and how many control frames lately."""

    __slots__ = (
        "_max_fragments",
        "_max_frame_bytes",
        "_opcode",
        "_parts",
        "_parts_bytes",
        "controls",
    )

    def __init__(
        self,
        *,
        is_text: bool,
        max_frame_bytes: int,
        max_fragments: int,
        control_frames_per_second: int,
    ) -> None:
        self._opcode = Opcode.TEXT if is_text else Opcode.BINARY
        self._max_frame_bytes = max_frame_bytes
        self._max_fragments = max_fragments
        self.controls = ControlWindow(control_frames_per_second)
        self._parts = 0
        self._parts_bytes = 0

    def judge(self, buffer: bytes | bytearray, now: float) -> WatchedFrame | None:
        """The frame at the front of `buffer`; None while its header is not all there.

        To be asked once for each frame: what passes is counted.

        Raises:
            FrameRefusedError: the frame must not be acted on, nor anything behind it.
        """
        if len(buffer) < 2:
            return None
        first, second = buffer[0], buffer[1]
        code = first & _OPCODE
        if code not in _OPCODES or second < _MASKED:
            raise FrameRefusedError(PROTOCOL_ERROR)
        length = second & _LENGTH
        header = 2 + _EXTENDED_BYTES.get(length, 0)
        if header > 2:
            if len(buffer) < header:
                return None
            length = int.from_bytes(buffer[2:header], "big")
        opcode = Opcode(code)
        is_last = first >= _FIN
        if length > max(self._max_frame_bytes - self._parts_bytes, MAX_CONTROL_PAYLOAD):
            raise FrameRefusedError(TOO_BIG)
        if first & _RESERVED:
            raise FrameRefusedError(PROTOCOL_ERROR)
        if opcode in _CONTROL:
            self._judge_control(opcode, length, is_last, now)
        else:
            self._judge_part(opcode, length, is_last)
        size = header + _MASK_BYTES + length
        return WatchedFrame(opcode, size, is_last and opcode not in _CONTROL)

    def _judge_control(self, opcode: Opcode, length: int, is_last: bool, now: float) -> None:
        if length > MAX_CONTROL_PAYLOAD or not is_last:
            raise FrameRefusedError(PROTOCOL_ERROR)
        if opcode is not Opcode.CLOSE and not self.controls.admits(now):
            raise FrameRefusedError(FLOODING)

    def _judge_part(self, opcode: Opcode, length: int, is_last: bool) -> None:
        is_continuation = opcode is Opcode.CONT
        if not is_continuation and opcode is not self._opcode:
            raise FrameRefusedError(WRONG_KIND)
        if is_continuation != bool(self._parts):
            raise FrameRefusedError(PROTOCOL_ERROR)
        self._parts += 1
        self._parts_bytes += length
        if self._parts_bytes > self._max_frame_bytes or self._parts > self._max_fragments:
            raise FrameRefusedError(TOO_BIG)
        if is_last:
            self._parts = self._parts_bytes = 0
