"""Rows: frames that RFC 6455 or the limits forbid, and the close each of them earns."""

from __future__ import annotations

from typing import Final

from tests.edge.answers import closed, goes_on
from tests.edge.case import Case, Profile
from tests.edge.relays import CANARY
from tests.edge.stage import Stage
from tests.wire.codecs import JSON, MSGPACK, Codec
from tests.wire.messages import about_send, send
from tests.wire.raw import BINARY, CLOSE, CONTINUATION, PING, TEXT, frame, frame_head, message

GROUP: Final = "Frames"
CLOSES: Final = "How a connection ends"
MAX_FRAGMENTS: Final = 64
LIMIT: Final = 4_096 * 3 // 2 + 16 * 1024
"""The bytes of a message that `Profile.NARROW` allows."""

CANARY_PING: Final = f'{{"type":"ksmpv3.ping","nonce":"{CANARY}-nonce"}}'.encode()
GOOD: Final = frame(TEXT, CANARY_PING)
SHORT: Final = CANARY.encode()
WORKS: Final = "the event is answered; the connection goes on"


def close(
    name: str,
    code: int,
    *sent: bytes,
    codec: Codec = JSON,
    profile: Profile = Profile.PLAIN,
) -> Case:
    """Bytes that earn a close with `code`, and nothing else."""

    async def act(stage: Stage) -> None:
        async with stage.connect(codec) as connection:
            await connection.send(*sent)
            await connection.closes(code)

    return Case(GROUP, name, CLOSES, closed(code), act, profile)


def work(name: str, *sent: bytes, profile: Profile = Profile.PLAIN) -> Case:
    """Bytes that are unusual and good: they make one `ksmpv3.ping`, and it is answered."""

    async def act(stage: Stage) -> None:
        async with stage.connect() as connection:
            await connection.send(*sent)
            event = await connection.event()
            assert (event["type"], event["nonce"]) == ("ksmpv3.pong", f"{CANARY}-nonce")
            await connection.still_works()

    return Case(GROUP, name, CLOSES, WORKS, act, profile)


async def _wide_length(stage: Stage) -> None:
    head = bytes((0x80 | TEXT, 0x80 | 127)) + len(CANARY_PING).to_bytes(8, "big")
    async with stage.connect() as connection:
        await connection.send(head + bytes(4) + CANARY_PING)
        if stage.deviation is not None:
            await connection.closes(1002)
            return
        assert (await connection.event())["type"] == "ksmpv3.pong"
        await connection.still_works()


async def _split_character(stage: Stage) -> None:
    text = f'{{"type":"{CANARY}-é"}}'.encode()
    half = text.index(b"\xa9")
    async with stage.connect() as connection:
        await connection.send(
            frame(TEXT, text[:half], fin=False) + frame(CONTINUATION, text[half:])
        )
        await connection.error("unknown_event")
        await connection.still_works()


async def _byte_by_byte(stage: Stage) -> None:
    async with stage.connect() as connection:
        for byte in GOOD:
            await connection.send(bytes([byte]))
        assert (await connection.event())["type"] == "ksmpv3.pong"
        await connection.still_works()


async def _binary_of_the_limit(stage: Stage) -> None:
    """A ping with an unknown field that fills it: refused, but as an event."""
    head = b"\x82\xa4type\xabksmpv3.ping\xa1x\xc5"
    filler = LIMIT - len(head) - 2
    whole = head + filler.to_bytes(2, "big") + SHORT.ljust(filler, b".")
    for sent in (frame(BINARY, whole), fragments(whole, 3, BINARY)):
        async with stage.connect(MSGPACK) as connection:
            await connection.send(sent)
            await connection.error("malformed", {"type": "ksmpv3.ping"})
            await connection.still_works()
            await connection.send(fragments(whole + b".", 3, BINARY))
            await connection.closes(1009)


def behind_a_send(name: str, code: int, bad: bytes) -> Case:
    """A send, then what earns a close, in one segment: the send is taken, and not acked here."""

    async def act(stage: Stage) -> None:
        async with stage.connect() as connection:
            envelope = connection.envelope()
            good = message(connection.codec.encode(send(envelope)))
            await connection.send(good + bad + good)
            await connection.closes(code)
        async with stage.connect_fresh() as again:
            other = envelope | {"contentType": "voice"}
            await again.tell(send(other))
            await again.error("idempotency_conflict", about_send(other))
            await again.still_works()

    answer = f"{closed(code)}; the send is stored: its key is known afterwards"
    return Case(GROUP, name, CLOSES, answer, act)


def fragments(payload: bytes, count: int, opcode: int = TEXT) -> bytes:
    """One message in `count` fragments, as equal as they can be."""
    size = -(-len(payload) // count)
    pieces = [payload[number * size : (number + 1) * size] for number in range(count)]
    return b"".join(
        frame(CONTINUATION if number else opcode, piece, fin=number == count - 1)
        for number, piece in enumerate(pieces)
    )


def padded(length: int) -> bytes:
    """A good event of exactly this many bytes, made long by white space."""
    return CANARY_PING + b" " * (length - len(CANARY_PING))


def _in_narrow(name: str, code: int, *sent: bytes) -> Case:
    return close(name, code, *sent, profile=Profile.NARROW)


BITS: Final = [
    close("an unmasked text", 1002, frame(TEXT, CANARY_PING, masked=False)),
    close("an unmasked binary", 1002, frame(BINARY, CANARY_PING, masked=False), codec=MSGPACK),
    close("an unmasked ping", 1002, frame(PING, SHORT, masked=False)),
    close("an unmasked close", 1002, frame(CLOSE, b"\x03\xe8", masked=False)),
    close("RSV1", 1002, frame(TEXT, CANARY_PING, rsv=4)),
    close("RSV2", 1002, frame(TEXT, CANARY_PING, rsv=2)),
    close("RSV3", 1002, frame(TEXT, CANARY_PING, rsv=1)),
    close("RSV1 on a binary", 1002, frame(BINARY, CANARY_PING, rsv=4), codec=MSGPACK),
    close("every RSV bit on a ping", 1002, frame(PING, SHORT, rsv=7)),
    close(
        "RSV1 on a later fragment",
        1002,
        frame(TEXT, b"{", fin=False),
        frame(CONTINUATION, b"}", rsv=4),
    ),
    *(
        close(f"the reserved opcode {opcode:#x}", 1002, frame(opcode, SHORT))
        for opcode in (0x3, 0x4, 0x5, 0x6, 0x7, 0xB, 0xC, 0xD, 0xE, 0xF)
    ),
    behind_a_send("a bad frame in one segment behind a send", 1002, frame(TEXT, b"{}", rsv=4)),
    work("a mask of zeros", frame_head(TEXT, len(CANARY_PING)) + bytes(4) + CANARY_PING),
    Case(GROUP, "an event in segments of one byte", CLOSES, WORKS, _byte_by_byte),
    Case(
        GROUP,
        "a length in more bytes than it needs",
        CLOSES,
        WORKS,
        _wide_length,
        deviation=closed(1002),
    ),
]

KINDS: Final = [
    close("a binary message under JSON", 1003, frame(BINARY, CANARY_PING)),
    close("an empty binary message under JSON", 1003, frame(BINARY)),
    close("the first fragment of a binary under JSON", 1003, frame(BINARY, b"{", fin=False)),
    close("a text message under MessagePack", 1003, frame(TEXT, CANARY_PING), codec=MSGPACK),
    close("a text that is not UTF-8 under MessagePack", 1003, frame(TEXT, b"\xff"), codec=MSGPACK),
]

TEXTS: Final = [
    close("a byte that is not UTF-8", 1007, frame(TEXT, b'{"%s":"\xff"}' % SHORT)),
    close("a character cut off at the end", 1007, frame(TEXT, b'{"type":"\xc3')),
    close("an overlong character", 1007, frame(TEXT, b'{"type":"\xc0\xaf"}')),
    close("a surrogate as UTF-8", 1007, frame(TEXT, b'{"type":"\xed\xa0\x80"}')),
    close("a character beyond U+10FFFF", 1007, frame(TEXT, b'{"type":"\xf4\x90\x80\x80"}')),
    close(
        "a bad character split over two fragments",
        1007,
        frame(TEXT, b'{"type":"\xc3', fin=False),
        frame(CONTINUATION, b'\x28"}'),
    ),
    Case(
        GROUP,
        "fragments that split a character",
        CLOSES,
        goes_on("unknown_event"),
        _split_character,
    ),
    close(
        "a bad fragment before a good one",
        1007,
        frame(TEXT, b'{"type":"\xff', fin=False),
        frame(CONTINUATION, b'"}'),
    ),
]

SIZES: Final = [
    work("a message of the limit", frame(TEXT, padded(LIMIT)), profile=Profile.NARROW),
    work(
        "a message of the limit in three fragments",
        fragments(padded(LIMIT), 3),
        profile=Profile.NARROW,
    ),
    Case(
        GROUP,
        "a binary message of the limit, then a byte more",
        CLOSES,
        f"answered as an event, then {closed(1009)}",
        _binary_of_the_limit,
        Profile.NARROW,
    ),
    _in_narrow("a byte more than the limit", 1009, frame(TEXT, padded(LIMIT + 1))),
    _in_narrow("a byte more, in three fragments", 1009, fragments(padded(LIMIT + 1), 3)),
    _in_narrow("a byte more in a first fragment", 1009, frame(TEXT, padded(LIMIT + 1), fin=False)),
    _in_narrow("oversize, then silence", 1009, frame_head(TEXT, LIMIT + 1)),
    _in_narrow(
        "oversize declared with the second fragment, then silence",
        1009,
        frame(TEXT, padded(LIMIT), fin=False),
        frame_head(CONTINUATION, 200),
    ),
    _in_narrow(
        "oversize, all of it, then a ping",
        1009,
        frame(TEXT, padded(LIMIT * 3)) + frame(PING, SHORT),
    ),
    _in_narrow(
        "oversize declared, then a ping",
        1009,
        frame_head(TEXT, LIMIT + 1) + bytes(4) + frame(PING, SHORT),
    ),
    close("2^62 bytes declared", 1009, frame_head(TEXT, 2**62)),
    close("2^62 bytes declared, binary", 1009, frame_head(BINARY, 2**62), codec=MSGPACK),
    close("2^63 bytes declared", 1009, frame_head(TEXT, 2**63)),
    close("2^64 - 1 bytes declared", 1009, frame_head(TEXT, 2**64 - 1)),
    behind_a_send(
        "2^62 bytes declared, in one segment behind a send", 1009, frame_head(TEXT, 2**62)
    ),
]

FRAGMENTS: Final = [
    work("64 fragments", fragments(padded(MAX_FRAGMENTS * 4), MAX_FRAGMENTS)),
    work(
        "a message between two empty fragments",
        frame(TEXT, fin=False),
        frame(CONTINUATION, CANARY_PING, fin=False),
        frame(CONTINUATION),
    ),
    close("65 fragments", 1009, fragments(padded((MAX_FRAGMENTS + 1) * 4), MAX_FRAGMENTS + 1)),
    close(
        "20,000 empty fragments",
        1009,
        frame(TEXT, fin=False) + frame(CONTINUATION, fin=False) * 19_998 + frame(CONTINUATION),
    ),
    close("a stray continuation", 1002, frame(CONTINUATION, CANARY_PING)),
    close("a stray continuation that is not the last", 1002, frame(CONTINUATION, b"{", fin=False)),
    behind_a_send("a continuation in one segment behind a send", 1002, frame(CONTINUATION)),
    close("a message within another", 1002, frame(TEXT, b"{", fin=False) + GOOD),
    close(
        "a fragmented message within another",
        1002,
        frame(TEXT, b"{", fin=False) + frame(TEXT, b"{", fin=False),
    ),
    close(
        "a message of the other kind within another",
        1003,
        frame(TEXT, b"{", fin=False) + frame(BINARY, CANARY_PING),
    ),
]

CASES: Final[list[Case]] = [*BITS, *KINDS, *TEXTS, *SIZES, *FRAGMENTS]
