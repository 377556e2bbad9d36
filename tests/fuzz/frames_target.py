"""Any bytes behind an upgrade become the same messages and the same answer however they are cut.

    byte 0       bit 0: the client's end; bit 1: text; bit 2: narrow limits; bit 3: we close as well
    bytes 1 - 3  how the stream is cut
    byte 4       where in the stream we close, if we do
    then         the peer's bytes

Beside it runs the server or the client of the `websockets` library, which has none of our limits:
where both go on they have seen the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side, State

from ksmp.websocket import (
    FLOODING,
    TOO_BIG,
    WRONG_KIND,
    ClientFraming,
    Framing,
    ServerFraming,
)
from tests.fuzz.promise import Choices, Cuts, other_cuts, promise, reached

OWN_REASONS: Final = (WRONG_KIND, TOO_BIG, FLOODING)
"""Codes of limits and rules that are this protocol's, not WebSocket's."""

PROTOCOL_ERRORS: Final = (1002, 1007)
CLOSING: Final = 1001
FRAME_HEADER_BYTES: Final = 14
MAX_CONTROL_BYTES: Final = 125
MOST_CONTROL_FRAMES: Final = 20


@dataclass(frozen=True)
class Setting:
    """Which end it is, and what it allows."""

    is_client: bool
    is_text: bool
    max_frame_bytes: int
    max_fragments: int
    closes_at: int | None

    def framing(self) -> Framing:
        """An end that has just been opened."""
        if self.is_client:
            return ClientFraming(is_text=self.is_text, max_frame_bytes=self.max_frame_bytes)
        return ServerFraming(
            is_text=self.is_text,
            max_frame_bytes=self.max_frame_bytes,
            max_fragments=self.max_fragments,
            control_frames_per_second=MOST_CONTROL_FRAMES,
        )

    @property
    def most_irregular(self) -> int | None:
        """The relay takes what is no plain message in small steps, a client all at once."""
        return None if self.is_client else 16

    @property
    def most_held_bytes(self) -> int:
        """One message in parts, and the header of a frame or a whole control frame between them."""
        return self.max_frame_bytes + FRAME_HEADER_BYTES + MAX_CONTROL_BYTES


@dataclass
class Course:
    """What an end made of a stream."""

    messages: list[bytes] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)  # for the peer, whatever their masks
    sent: int | None = None
    received: int | None = None
    is_open: bool = True
    is_finished: bool = False


def frames_target(source: bytes) -> None:
    """Take one stream in three ways of cutting it, and beside the library."""
    choices = Choices(source)
    bits, cuts, place = choices.byte(), choices.cuts(), choices.byte()
    is_client, is_narrow = bool(bits & 1), bool(bits & 4)
    setting = Setting(
        is_client,
        is_text=bool(bits & 2),
        max_frame_bytes=130 if is_narrow else 70_000,
        max_fragments=64 if is_client or not is_narrow else 3,
        closes_at=place if bits & 8 else None,
    )
    check_stream(setting, cuts, choices.rest())


def check_stream(setting: Setting, cuts: Cuts, stream: bytes) -> None:
    """Whatever is promised of one stream."""
    course = _take(setting, cuts, stream)
    for other in other_cuts(stream):
        again = _take(setting, other, stream)
        promise(again == course, ("cut otherwise", course, again))
    _require_legal(setting, course)
    if setting.closes_at is None:
        _compare(course, _reference(setting, stream))
    side = "client" if setting.is_client else "server"
    reached(f"{side} sends {course.sent}")
    reached(f"{side} gets {'messages' if course.messages else 'nothing'}")


def _take(setting: Setting, cuts: Cuts, stream: bytes) -> Course:
    framing, course, outgoing = setting.framing(), Course(), bytearray()
    until = len(stream) if setting.closes_at is None else min(setting.closes_at, len(stream))
    for piece in cuts.of(stream[:until]):
        outgoing += _receive(setting, framing, course, piece)
    if setting.closes_at is not None:
        framing.close(CLOSING)
        outgoing += b"".join(framing.outgoing())
    for piece in cuts.of(stream[until:]):
        messages = len(course.messages)
        outgoing += _receive(setting, framing, course, piece)
        promise(len(course.messages) == messages, "a message was taken after our close")
    course.is_open, course.is_finished = framing.is_open, framing.is_finished
    course.sent, course.received = framing.close_code_sent, framing.close_code_received
    course.frames = _parsed(Side.SERVER if setting.is_client else Side.CLIENT, bytes(outgoing))
    framing.receive_eof()
    promise(not b"".join(framing.outgoing()), "an answer to the end of the stream")
    promise(framing.is_finished, "more could come after the end of the stream")
    return course


def _receive(setting: Setting, framing: Framing, course: Course, piece: bytes) -> bytes:
    """Add to the course what the piece brings; returns the answer to it."""
    was_finished = framing.is_finished
    messages = framing.receive(piece, 0.0, setting.most_irregular)
    while framing.unread and not framing.is_finished:
        messages += framing.receive(framing.unread, 0.0, setting.most_irregular)
    answer = b"".join(framing.outgoing())
    promise(not was_finished or not (messages or answer), "something after the end")
    promise(
        all(len(message) <= setting.max_frame_bytes for message in messages), "a message too large"
    )
    promise(_held_bytes(framing) <= setting.most_held_bytes, ("held", _held_bytes(framing)))
    course.messages += map(bytes, messages)
    return answer


def _held_bytes(framing: Framing) -> int:
    core = framing._core
    fragments = sum(map(len, core._fragments))
    return len(framing._incomplete) + len(core.reader.buffer) + fragments


def _require_legal(setting: Setting, course: Course) -> None:
    """What went out are sound frames, at most one close, last, with a code we know or got."""
    frames = course.frames
    closes = [frame for frame in frames if frame.opcode is Opcode.CLOSE]
    promise(closes == frames[len(frames) - len(closes) :] and len(closes) <= 1, frames)
    promise(
        all(frame.opcode is Opcode.PONG for frame in frames[: len(frames) - len(closes)]), frames
    )
    promise(bool(closes) == (course.sent is not None), (frames, course.sent))
    if course.sent is not None:
        known = (*PROTOCOL_ERRORS, *OWN_REASONS)
        echoed = course.sent == course.received
        closed = setting.closes_at is not None and course.sent == CLOSING
        promise(course.sent in known or echoed or closed, course.sent)
    promise(course.is_open == (course.sent is None and course.received is None), course)


def _parsed(side: Side, stream: bytes) -> list[Frame]:
    peer = Protocol(side, max_size=None)
    peer.receive_data(stream)
    frames = peer.events_received()
    promise(peer.parser_exc is None, peer.parser_exc)
    promise(not peer.reader.buffer, "half a frame went out")
    return [frame for frame in frames if isinstance(frame, Frame)]


# ── beside the library ───────────────────────────────────────────────────────────────────────


@dataclass
class Reference:
    """What the library made of the same stream, without any limit."""

    messages: list[bytes]
    failed: int | None
    received: int | None


def _reference(setting: Setting, stream: bytes) -> Reference:
    peer = Protocol(Side.CLIENT if setting.is_client else Side.SERVER, max_size=None)
    peer.receive_data(stream)
    messages: list[bytes] = []
    parts: list[bytes] = []
    for frame in peer.events_received():
        assert isinstance(frame, Frame)
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            parts.append(bytes(frame.data))
            if frame.fin:
                messages.append(b"".join(parts))
                parts = []
    received = None if peer.close_rcvd is None else int(peer.close_rcvd.code)
    has_failed = received is None and peer.state is not State.OPEN and peer.close_sent is not None
    failed = int(peer.close_sent.code) if has_failed and peer.close_sent is not None else None
    return Reference(messages, failed, received)


def _compare(course: Course, reference: Reference) -> None:
    """Ours has seen the same, or less where it has a reason of its own."""
    seen = len(course.messages)
    promise(course.messages == reference.messages[:seen], (course, reference))
    if course.sent in OWN_REASONS and course.received is None:
        return
    promise(seen == len(reference.messages), (course, reference))
    promise(course.received == reference.received, (course, reference))
    failed = course.sent if course.received is None else None
    promise(failed == reference.failed, (course, reference))
