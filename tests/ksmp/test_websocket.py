"""What `ksmp.websocket` promises: whole messages in order, the right close code for the rest."""

from __future__ import annotations

import logging
import struct
from typing import Any

import pytest
from websockets.frames import Close, Frame, Opcode

from ksmp.websocket import (
    Framing,
    ServerFraming,
    frame_header,
)

LIMIT = 1_000


def server(**settings: int) -> ServerFraming:
    return ServerFraming(is_text=False, **{"max_frame_bytes": LIMIT, **settings})


def frame(payload: bytes = b"", opcode: Opcode = Opcode.BINARY, fin: bool = True) -> bytes:
    """One masked frame, made by the library's own serializer."""
    return Frame(opcode, payload, fin).serialize(mask=True)


def raw_frame(first: int, payload: bytes, *, is_masked: bool = True) -> bytes:
    """A short frame with any first byte, which the library would refuse to make."""
    assert len(payload) < 126
    if not is_masked:
        return bytes((first, len(payload))) + payload
    return bytes((first, 0x80 | len(payload))) + bytes(4) + payload


def close_codes(pieces: list[bytes]) -> list[int | None]:
    """The codes of the unmasked close frames in what a server sent."""
    stream, codes, position = b"".join(pieces), [], 0
    while position < len(stream):
        opcode, length = stream[position] & 0x0F, stream[position + 1]
        payload = stream[position + 2 : position + 2 + length]
        if opcode == Opcode.CLOSE:
            codes.append(struct.unpack("!H", payload[:2])[0] if payload else None)
        position += 2 + length
    return codes


# ── messages ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("step", [1, 2, 3, 7, 100, 100_000])
@pytest.mark.parametrize("max_frame_bytes", [70_000, 400_000])
def test_messages_come_out_whole_and_in_order_however_the_bytes_are_cut(
    step: int, max_frame_bytes: int
) -> None:
    framing = server(max_frame_bytes=max_frame_bytes)
    sizes = [0, 1, 125, 126, 127, 5_000, 65_535, 65_536, 70_000, 3]
    if step < 7:
        sizes = [size for size in sizes if size <= 5_000]
    expected = [bytes([index]) * size for index, size in enumerate(sizes)]
    stream = b"".join(frame(message) for message in expected)

    received: list[bytes | bytearray] = []
    for start in range(0, len(stream), step):
        received += framing.receive(stream[start : start + step], 0.0)

    assert received == expected
    assert framing.is_open
    assert framing.outgoing() == []


def test_a_message_that_drips_in_is_not_looked_at_again_for_every_byte(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Or each byte of a large frame would cost a copy of all before it."""
    looks = 0
    take = Framing._take_regular

    def counted(self: Framing, *arguments: Any) -> Any:
        nonlocal looks
        looks += 1
        return take(self, *arguments)

    monkeypatch.setattr(Framing, "_take_regular", counted)
    framing = server(max_frame_bytes=10_000)
    received = []
    for byte in frame(b"x" * 10_000):
        received += framing.receive(bytes([byte]), 0.0)

    assert received == [b"x" * 10_000]
    assert looks <= 4  # at the first byte, the length, its rest, and the whole


def test_fragments_are_joined_and_a_ping_between_them_is_answered() -> None:
    framing = server()
    stream = (
        frame(b"one ", fin=False)
        + frame(b"here?", Opcode.PING)
        + frame(b"two ", Opcode.CONT, fin=False)
        + frame(b"three", Opcode.CONT)
        + frame(b"next")
    )

    assert framing.receive(stream, 0.0) == [b"one two three", b"next"]
    assert framing.outgoing() == [b"\x8a\x05here?"]


def test_a_ping_inside_a_message_does_not_count_towards_the_message() -> None:
    framing = server()
    stream = (
        frame(b"m" * LIMIT, fin=False) + frame(b"p" * 125, Opcode.PING) + frame(b"", Opcode.CONT)
    )

    assert framing.receive(stream, 0.0) == [b"m" * LIMIT]
    assert framing.is_open


def test_a_message_in_the_most_fragments_allowed_is_delivered() -> None:
    framing = server(max_fragments=64)
    parts = [frame(b"x", Opcode.CONT if index else Opcode.BINARY, False) for index in range(63)]

    assert framing.receive(b"".join(parts) + frame(b"x", Opcode.CONT), 0.0) == [b"x" * 64]


def test_fast_and_careful_paths_take_turns_without_losing_a_byte() -> None:
    framing = server()
    stream = b"".join(
        frame(b"whole") + frame(b"in ", fin=False) + frame(b"parts", Opcode.CONT) for _ in range(10)
    )

    received = [message for byte in stream for message in framing.receive(bytes([byte]), 0.0)]

    assert received == [b"whole", b"in parts"] * 10


@pytest.mark.parametrize("opcode", [Opcode.PING, Opcode.BINARY])
@pytest.mark.parametrize("cut", range(1, 9))
def test_what_looks_like_a_frame_inside_another_is_not_taken_for_one(
    opcode: Opcode, cut: int
) -> None:
    framing = server()
    # The mask, and four zero bytes under it, read like the beginning of a whole message.
    mask = masked = b"\x82\x80\x82\x80"
    stream = bytes((opcode if opcode is Opcode.BINARY else 0x80 | opcode, 0x84)) + mask + masked
    if opcode is Opcode.BINARY:
        stream += frame(b"", Opcode.CONT)

    received = framing.receive(stream[:cut], 0.0) + framing.receive(stream[cut:], 0.0)

    if opcode is Opcode.BINARY:
        assert received == [bytes(4)]
    else:
        assert received == []
        assert framing.outgoing() == [b"\x8a\x04" + bytes(4)]
    assert framing.receive(frame(b"next"), 0.0) == [b"next"]


@pytest.mark.parametrize("length", [0, 1, 125, 126, 65_535, 65_536])
@pytest.mark.parametrize("is_text", [True, False])
def test_frame_header_is_what_the_library_writes(length: int, is_text: bool) -> None:
    opcode = Opcode.TEXT if is_text else Opcode.BINARY
    payload = bytes(length)

    assert frame_header(is_text, length) + payload == Frame(opcode, payload).serialize(mask=False)


# ── what closes the connection ───────────────────────────────────────────────────────────────

BROKEN = {
    "unmasked": (raw_frame(0x82, b"x", is_masked=False), 1002),
    "first reserved bit": (raw_frame(0xC2, b"x"), 1002),
    "second reserved bit": (raw_frame(0xA2, b"x"), 1002),
    "third reserved bit": (raw_frame(0x92, b"x"), 1002),
    "reserved data opcode": (raw_frame(0x83, b"x"), 1002),
    "reserved control opcode": (raw_frame(0x8B, b"x"), 1002),
    "the other kind": (frame(b"text", Opcode.TEXT), 1003),
    "the other kind in fragments": (frame(b"te", Opcode.TEXT, fin=False), 1003),
    "continuation of nothing": (frame(b"x", Opcode.CONT), 1002),
    "a message inside a message": (frame(b"x", fin=False) + frame(b"y"), 1002),
    "fragmented ping": (raw_frame(0x09, b"x"), 1002),
    "ping of 126 bytes": (b"\x89\xfe\x00\x7e" + bytes(4 + 126), 1002),
    "one byte too many": (b"\x82\xfe" + struct.pack("!H", LIMIT + 1), 1009),
    "2^62 bytes declared": (b"\x82\xff" + struct.pack("!Q", 2**62), 1009),
    "2^64 - 1 bytes declared": (b"\x82\xff" + b"\xff" * 8, 1009),
    "fragments too large together": (
        frame(bytes(LIMIT), fin=False) + frame(b"x", Opcode.CONT),
        1009,
    ),
    "oversized second fragment, only declared": (
        frame(bytes(600), fin=False) + b"\x80\xfe" + struct.pack("!H", 401),
        1009,
    ),
    "65 fragments": (
        frame(b"", fin=False) + frame(b"", Opcode.CONT, fin=False) * 64,
        1009,
    ),
    "20,000 empty fragments": (
        frame(b"", fin=False) + frame(b"", Opcode.CONT, fin=False) * 20_000,
        1009,
    ),
    "21 pings": (frame(b"", Opcode.PING) * 21, 4429),
    "21 pongs": (frame(b"", Opcode.PONG) * 21, 4429),
    "a flood of pings": (frame(b"p" * 125, Opcode.PING) * 5_000, 4429),
    "close of one byte": (raw_frame(0x88, b"x"), 1002),
    "close with 1005": (raw_frame(0x88, struct.pack("!H", 1005)), 1002),
    "close with 1006": (raw_frame(0x88, struct.pack("!H", 1006)), 1002),
    "close with 5000": (raw_frame(0x88, struct.pack("!H", 5000)), 1002),
    "close whose reason is not UTF-8": (raw_frame(0x88, b"\x03\xe8\xff\xfe"), 1007),
}


@pytest.mark.parametrize(("stream", "code"), BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("step", [1, 65_536])
def test_what_breaks_the_rules_earns_its_code_and_costs_nothing_that_came_before(
    stream: bytes, code: int, step: int
) -> None:
    framing = server()
    stream = frame(b"first") + frame(b"second") + stream + frame(b"too late")

    received, sent = [], []
    for start in range(0, len(stream), step):
        received += framing.receive(stream[start : start + step], 0.0)
        sent += framing.outgoing()

    assert received == [b"first", b"second"]
    assert close_codes(sent) == [code]
    assert not framing.is_open
    assert framing.is_finished
    assert framing.close_code_sent == code


def test_an_oversized_frame_is_refused_at_its_header() -> None:
    framing = server()

    framing.receive(b"\x82\xff" + struct.pack("!Q", 2**62), 0.0)

    assert framing.close_code_sent == 1009


def test_a_pong_is_owed_for_no_ping_of_a_flood_beyond_the_limit() -> None:
    framing = server(control_frames_per_second=20)

    framing.receive(frame(b"p" * 125, Opcode.PING) * 500, 0.0)

    assert len(b"".join(framing.outgoing())) < 20 * 127 + 127


def test_control_frames_within_the_limit_are_answered_for_ever() -> None:
    framing = server(control_frames_per_second=20)

    for second in range(100):
        framing.receive(frame(b"", Opcode.PING) * 20, float(second))
        assert framing.outgoing() == [b"\x8a\x00"] * 20

    framing.receive(frame(b"", Opcode.PING), 99.5)
    assert framing.close_code_sent == 4429


def test_application_pings_count_with_control_frames() -> None:
    framing = server(control_frames_per_second=3)

    framing.receive(frame(b"", Opcode.PING), 0.0)
    admitted = [framing.note_control(0.1), framing.note_control(0.2), framing.note_control(0.3)]

    assert admitted == [True, True, False]
    assert framing.is_open, "what to do about it is the application's to decide"


# ── closing ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("payload", "code"),
    [(b"", 1005), (b"\x03\xe8", 1000), (b"\x0f\xa0bye", 4000), (b"\x03\xf4", 1012)],
)
def test_a_close_is_answered_in_kind_and_nothing_after_it_is_delivered(
    payload: bytes, code: int
) -> None:
    framing = server()
    stream = (
        frame(b"last") + frame(payload, Opcode.CLOSE) + frame(b"late") + frame(b"", Opcode.PING)
    )

    assert framing.receive(stream, 0.0) == [b"last"]
    assert framing.outgoing() == [bytes((0x88, len(payload))) + payload]
    assert framing.close_code_received == code
    assert not framing.is_open
    assert framing.is_finished
    assert framing.receive(frame(b"later still"), 1.0) == []
    assert framing.outgoing() == []


def test_a_close_between_fragments_is_answered_in_kind_and_their_message_is_given_up() -> None:
    framing = server()
    payload = struct.pack("!H", 1000)
    stream = frame(b"never ", fin=False) + frame(payload, Opcode.CLOSE) + frame(b"", Opcode.CONT)

    assert framing.receive(stream, 0.0) == []
    assert framing.outgoing() == [b"\x88\x02" + payload]
    assert (framing.close_code_received, framing.close_code_sent) == (1000, 1000)
    assert framing.is_finished


def test_after_our_close_messages_are_dropped_until_the_peer_closes_too() -> None:
    framing = server()
    whole = frame(b"sent before the peer knew")
    framing.receive(whole[:5], 0.0)

    framing.close(4409)
    framing.close(1000)
    framing.ping()

    assert close_codes(framing.outgoing()) == [4409]
    assert framing.receive(whole[5:] + frame(b"", Opcode.PING) * 100, 0.0) == []
    assert framing.outgoing() == []
    was_finished = framing.is_finished
    framing.receive(frame(struct.pack("!H", 4409), Opcode.CLOSE), 0.0)

    assert (was_finished, framing.is_finished) == (False, True)
    assert framing.close_code_received == 4409
    assert framing.outgoing() == []


def test_the_end_of_the_bytes_ends_the_connection_without_a_close_frame() -> None:
    framing = server()
    framing.receive(frame(b"half")[:3], 0.0)

    framing.receive_eof()

    assert framing.is_finished
    assert framing.close_code_sent is None
    assert framing.outgoing() == []
    assert framing.receive(b"more", 0.0) == []


def test_nothing_is_logged_even_at_debug(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("websockets", "websockets.server", "ksmp.websocket"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    framing = server()

    framing.receive(frame(b"CANARY") + frame(b"CANARY", Opcode.PING) + raw_frame(0x83, b"x"), 0.0)
    framing.receive_eof()

    assert caplog.records == []


def test_closing_reason_of_the_peer_is_parsed_as_the_library_does() -> None:
    framing = server()

    framing.receive(frame(Close(4000, "later").serialize(), Opcode.CLOSE), 0.0)

    assert framing.close_code_received == 4000
