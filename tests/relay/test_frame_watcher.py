"""The judge of frames by their headers says what `ServerFraming` says, and says it earlier."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ksmp.websocket import ServerFraming
from relay.transport.frame_watcher import FrameRefusedError, FrameWatcher

LARGEST, FRAGMENTS, CONTROLS = 150, 4, 3


@dataclass
class Course:
    """What a stream came to: the sizes of its messages, and the code it earned, if any."""

    messages: list[int] = field(default_factory=list)
    code: int | None = None


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    """One frame as it might come from anybody, mostly good, with a payload that says nothing."""
    opcode = draw(st.sampled_from([2, 2, 2, 0, 0, 1, 9, 10, 8, 3, 15]))
    is_last = draw(st.sampled_from([0x80, 0x80, 0x80, 0]))
    reserved = draw(st.sampled_from([0] * 9 + [0x40, 0x20, 0x10]))
    is_masked = draw(st.sampled_from([0x80] * 9 + [0]))
    size = draw(st.sampled_from([0, 1, 50, 125, 126, 127, 149, 150, 151, 70_000]))
    if opcode == 8:
        size = 0  # the body of a close is not judged by its header
    width = draw(st.sampled_from([0, 0, 0, 2, 8]))
    if width == 8 or size > 65_535:
        length = bytes([is_masked | 127]) + size.to_bytes(8, "big")
    elif width == 2 or size > 125:
        length = bytes([is_masked | 126]) + size.to_bytes(2, "big")
    else:
        length = bytes([is_masked | size])
    mask = bytes(4) if is_masked else b""
    return bytes([is_last | reserved | opcode]) + length + mask + bytes(size)


def watched(stream: bytes) -> Course:
    watcher = FrameWatcher(
        is_text=False,
        max_frame_bytes=LARGEST,
        max_fragments=FRAGMENTS,
        control_frames_per_second=CONTROLS,
    )
    course, size = Course(), 0
    while stream:
        try:
            frame = watcher.judge(stream, 0.0)
        except FrameRefusedError as refused:
            course.code = refused.code
            break
        assert frame is not None
        assert len(stream) >= frame.size
        payload = frame.size - (
            14 if stream[1] & 0x7F == 127 else 8 if stream[1] & 0x7F == 126 else 6
        )
        if frame.opcode < 8:
            size += payload
        if frame.ends_message:
            course.messages.append(size)
            size = 0
        if frame.opcode == 8:
            break
        stream = stream[frame.size :]
    return course


def framed(stream: bytes) -> Course:
    framing = ServerFraming(
        is_text=False,
        max_frame_bytes=LARGEST,
        max_fragments=FRAGMENTS,
        control_frames_per_second=CONTROLS,
    )
    messages = framing.receive(stream, 0.0)
    code = framing.close_code_sent if framing.close_code_received is None else None
    return Course([len(message) for message in messages], code)


@given(stream=st.lists(frames(), max_size=12).map(b"".join))
@example(stream=b"\x02\x80mask" * 5)
def test_the_watcher_and_the_framing_judge_alike(stream: bytes) -> None:
    assert watched(stream) == framed(stream)


@given(stream=st.lists(frames(), min_size=1, max_size=6).map(b"".join), data=st.data())
def test_a_frame_is_judged_by_as_little_of_it_as_its_header(
    stream: bytes, data: st.DataObject
) -> None:
    """Whatever more has arrived changes nothing."""
    whole = FrameWatcher(
        is_text=False, max_frame_bytes=LARGEST, max_fragments=4, control_frames_per_second=3
    )
    little = FrameWatcher(
        is_text=False, max_frame_bytes=LARGEST, max_fragments=4, control_frames_per_second=3
    )

    def ask(watcher: FrameWatcher, buffer: bytes) -> object:
        try:
            return watcher.judge(buffer, 0.0)
        except FrameRefusedError as refused:
            return refused.code

    end = next(end for end in range(len(stream) + 1) if ask(little, stream[:end]) is not None)
    assert end <= 10
    again = FrameWatcher(
        is_text=False, max_frame_bytes=LARGEST, max_fragments=4, control_frames_per_second=3
    )
    assert ask(again, stream[:end]) == ask(whole, stream)


def test_the_window_of_control_frames_slides() -> None:
    watcher = FrameWatcher(
        is_text=False, max_frame_bytes=10, max_fragments=1, control_frames_per_second=2
    )
    ping = b"\x89\x80mask"
    assert watcher.judge(ping, 0.0)
    assert watcher.judge(ping, 0.5)
    with pytest.raises(FrameRefusedError) as refused:
        watcher.judge(ping, 0.99)
    assert refused.value.code == 4429
    assert watcher.judge(ping, 1.0)
    assert not watcher.controls.admits(1.25)
    assert watcher.controls.admits(1.5)
