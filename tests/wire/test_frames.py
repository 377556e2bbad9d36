"""What frames may look like, and the close code of each that may not (RFC 6455, section 4)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from tests.wire.codecs import JSON, MSGPACK, Codec
from tests.wire.connecting import Clients, StartRelay
from tests.wire.messages import envelope, fresh, ping, send
from tests.wire.raw import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    frame,
    frame_head,
    message,
)

MAX_CIPHERTEXT_BYTES = 4096
MAX_FRAME_BYTES = MAX_CIPHERTEXT_BYTES * 3 // 2 + 16 * 1024
PING_TEXT = b'{"type":"ksmpv3.ping"}'


class Broken(NamedTuple):
    """Bytes that break the rules of frames, and the close they earn."""

    name: str
    code: int
    sent: bytes
    codec: Codec = JSON


def _fragments(count: int, payload: bytes = b"") -> bytes:
    middle = frame(CONTINUATION, payload, fin=False) * (count - 2)
    return frame(TEXT, payload, fin=False) + middle + frame(CONTINUATION, payload)


def _close(code: int, reason: bytes = b"") -> bytes:
    return frame(CLOSE, code.to_bytes(2, "big") + reason)


TABLE = [
    Broken("unmasked text", 1002, frame(TEXT, PING_TEXT, masked=False)),
    Broken("unmasked ping", 1002, frame(PING, masked=False)),
    *(Broken(f"RSV {rsv:03b}", 1002, frame(TEXT, PING_TEXT, rsv=rsv)) for rsv in (4, 2, 1)),
    *(
        Broken(f"reserved opcode {opcode:#x}", 1002, frame(opcode))
        for opcode in (0x3, 0x4, 0x5, 0x6, 0x7, 0xB, 0xC, 0xD, 0xE, 0xF)
    ),
    Broken("binary for JSON", 1003, frame(BINARY, PING_TEXT)),
    Broken("text for MessagePack", 1003, frame(TEXT, PING_TEXT), MSGPACK),
    Broken("not UTF-8", 1007, frame(TEXT, b'{"type":"\xff"}')),
    Broken(
        "not UTF-8 over two fragments",
        1007,
        frame(TEXT, b'{"type":"\xc3', fin=False) + frame(CONTINUATION, b'\x28"}'),
    ),
    Broken("overlong UTF-8", 1007, frame(TEXT, b'{"type":"\xc0\xaf"}')),
    Broken("encoded surrogate", 1007, frame(TEXT, b'{"type":"\xed\xa0\x80"}')),
    Broken("2^62 bytes declared", 1009, frame_head(TEXT, 2**62)),
    Broken("2^62 bytes declared, binary", 1009, frame_head(BINARY, 2**62), MSGPACK),
    Broken("stray continuation", 1002, frame(CONTINUATION, PING_TEXT)),
    Broken("interleaved messages", 1002, frame(TEXT, b"{", fin=False) + frame(TEXT, PING_TEXT)),
    Broken("65 fragments", 1009, _fragments(65)),
    Broken("20,000 empty fragments", 1009, _fragments(20_000)),
    Broken("126-byte ping", 1002, frame(PING, b"x" * 126)),
    Broken("fragmented ping", 1002, frame(PING, b"x", fin=False)),
    Broken("ping flood", 4429, frame(PING, b"x") * 200),
    Broken("pong flood", 4429, frame(PONG, b"x") * 200),
    Broken("ksmpv3.ping flood", 4429, frame(TEXT, PING_TEXT) * 200),
    Broken("close of 1 byte", 1002, frame(CLOSE, b"\x03")),
    *(
        Broken(f"close {code}", 1002, _close(code))
        for code in (0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65535)
    ),
    Broken("close reason not UTF-8", 1007, _close(1000, b"\xff")),
]


@pytest.mark.parametrize("case", TABLE, ids=lambda case: case.name)
def test_broken_frame_is_closed_with_its_code(case: Broken, client: Clients) -> None:
    with client.connect_raw(codec=case.codec) as socket:
        socket.send(case.sent)
        assert socket.close_code(case.codec) == case.code


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        (_close(1000), 1000),
        (_close(1001, b"bye"), 1001),
        (_close(3000), 3000),
        (_close(4999), 4999),
        (frame(CLOSE), 1005),
    ],
    ids=["1000", "1001 with reason", "3000", "4999", "without a code"],
)
def test_good_close_is_answered_in_kind_and_ends_the_line(
    sent: bytes, answered: int, client: Clients
) -> None:
    with client.connect_raw() as socket:
        socket.send(sent)
        assert socket.close_code() == answered
        assert socket.is_at_end()


def test_nothing_after_a_close_is_taken(client: Clients) -> None:
    alice, bob = fresh("alice"), fresh("bob")
    late = message(JSON.encode(send(envelope(alice, bob))))
    with client.connect_raw(alice) as socket:
        socket.send(_close(1000), late, frame(PING), message(JSON.encode(ping())))
        assert socket.events_until_close() == ([], 1000)
    with client.connect_raw(bob) as socket:
        # What bob sends himself is committed after whatever the relay took from alice.
        socket.send(message(JSON.encode(send(envelope(bob, bob)))))
        assert socket.event()["type"] == "ksmpv3.send.ack"
        socket.send(message('{"type":"ksmpv3.resume","lastGlobalInboxSeq":0}'))
        assert socket.event()["envelope"]["senderUserId"] == bob
        assert socket.event()["type"] == "ksmpv3.resume.complete"


def test_ping_is_answered_with_its_payload_between_the_fragments_of_a_message(
    client: Clients,
) -> None:
    with client.connect_raw() as socket:
        socket.send(frame(TEXT, PING_TEXT[:9], fin=False), frame(PING, b"p" * 125))
        answer = socket.frame()
        assert answer is not None
        assert (answer.first_byte, answer.payload) == (0x80 | PONG, b"p" * 125)
        socket.send(frame(CONTINUATION, PING_TEXT[9:]))
        assert socket.event()["type"] == "ksmpv3.pong"


def test_event_that_arrives_byte_by_byte_is_one_event(client: Clients) -> None:
    with client.connect_raw() as socket:
        for byte in frame(TEXT, PING_TEXT):
            socket.send(bytes([byte]))
        assert socket.event()["type"] == "ksmpv3.pong"


def test_64_fragments_make_one_message(client: Clients) -> None:
    text = PING_TEXT + b" " * (64 * 4 - len(PING_TEXT))
    pieces = [text[start : start + 4] for start in range(0, len(text), 4)]
    with client.connect_raw() as socket:
        socket.send(
            frame(TEXT, pieces[0], fin=False),
            *(frame(CONTINUATION, piece, fin=False) for piece in pieces[1:-1]),
            frame(CONTINUATION, pieces[-1]),
        )
        assert socket.event()["type"] == "ksmpv3.pong"


def test_character_may_be_split_between_fragments(client: Clients) -> None:
    text = '{"type":"ksmpv3.é"}'.encode()
    half = text.index(b"\xa9")
    with client.connect_raw() as socket:
        socket.send(frame(TEXT, text[:half], fin=False), frame(CONTINUATION, text[half:]))
        assert socket.event()["code"] == "unknown_event"


def test_moderate_pinging_is_no_flood(client: Clients) -> None:
    with client.connect_raw() as socket:
        socket.send(frame(PING, b"x") * 10)
        for _ in range(10):
            answer = socket.frame()
            assert answer is not None
            assert answer.opcode == PONG


@pytest.fixture
def narrow(start: StartRelay) -> Clients:
    """A relay with small messages."""
    return start(limits__max_ciphertext_bytes=MAX_CIPHERTEXT_BYTES)


def _padded_json(length: int) -> bytes:
    return PING_TEXT + b" " * (length - len(PING_TEXT))


def _padded_msgpack(length: int) -> bytes:
    """A ping with an unknown field that fills it to `length`: refused, but as an event."""
    head = b"\x82\xa4type\xabksmpv3.ping\xa1x\xc5"
    return head + (length - len(head) - 2).to_bytes(2, "big") + bytes(length - len(head) - 2)


Padded = Callable[[int], bytes]


def _in_one(opcode: int, payload: bytes) -> Iterator[bytes]:
    yield frame(opcode, payload)


def _in_three(opcode: int, payload: bytes) -> Iterator[bytes]:
    third = len(payload) // 3
    yield frame(opcode, payload[:third], fin=False)
    yield frame(CONTINUATION, payload[third : 2 * third], fin=False)
    yield frame(CONTINUATION, payload[2 * third :])


def test_message_of_max_frame_bytes_is_taken_and_one_byte_more_is_not(narrow: Clients) -> None:
    kinds: list[tuple[Codec, int, Padded, str]] = [
        (JSON, TEXT, _padded_json, "ksmpv3.pong"),
        (MSGPACK, BINARY, _padded_msgpack, "ksmpv3.error"),
    ]
    for codec, opcode, padded, answer in kinds:
        for framed in (_in_one, _in_three):
            with narrow.connect_raw(codec=codec) as socket:
                socket.send(*framed(opcode, padded(MAX_FRAME_BYTES)))
                assert socket.event(codec)["type"] == answer
                socket.send(*framed(opcode, padded(MAX_FRAME_BYTES + 1)))
                assert socket.events_until_close(codec) == ([], 1009)


def test_oversize_then_silence_is_closed_without_waiting_for_the_rest(narrow: Clients) -> None:
    with narrow.connect_raw() as socket:
        socket.send(frame_head(TEXT, MAX_FRAME_BYTES + 1))
        assert socket.close_code() == 1009
        assert socket.is_at_end()


def test_hostile_connections_do_not_disturb_another_one(client: Clients) -> None:
    with client.connect_raw(fresh("bystander")) as bystander:
        for case in TABLE:
            with client.connect_raw(codec=case.codec) as socket:
                socket.send(case.sent)
        bystander.send(message(JSON.encode(ping("still-here"))))
        assert bystander.event()["nonce"] == "still-here"
