"""Rows: control frames, closes good and bad, and lines that end in other ways."""

from __future__ import annotations

from typing import Final

from tests.edge.answers import closed
from tests.edge.case import Act, Case
from tests.edge.frames import CANARY_PING, CLOSES, GOOD, GROUP, SHORT, close
from tests.edge.stage import Stage
from tests.wire.codecs import MSGPACK
from tests.wire.messages import send
from tests.wire.raw import CLOSE, CONTINUATION, PING, PONG, TEXT, frame, message

CONTROL_FRAMES: Final = 20
"""How many a second are answered."""

ENDS: Final = "the line ends; nothing is said"


def case(name: str, answer: str, act: Act) -> Case:
    """A row of this group."""
    return Case(GROUP, name, CLOSES, answer, act)


def _flood(name: str, *sent: bytes) -> Case:
    """More than a second's control frames at once."""

    async def act(stage: Stage) -> None:
        async with stage.connect() as connection:
            await connection.send(*sent)
            await connection.closes_after_pongs(4429, CONTROL_FRAMES)

    return case(name, f"at most {CONTROL_FRAMES} are answered, then {closed(4429)}", act)


def _answer(name: str, payload: bytes, answer: str) -> Case:
    """A close of the client that is answered with the same."""

    async def act(stage: Stage) -> None:
        async with stage.connect() as connection:
            await connection.send(frame(CLOSE, payload))
            said = await connection.line.frame()
            assert said is not None, "the line ended without a close"
            assert (said.first_byte, said.payload) == (0x80 | CLOSE, payload)
            assert await connection.line.is_at_end()

    return case(name, answer, act)


def _coded(code: int, reason: bytes = b"") -> bytes:
    return code.to_bytes(2, "big") + reason


# ── control frames ───────────────────────────────────────────────────────────────────────────


async def _longest_ping(stage: Stage) -> None:
    async with stage.connect() as connection:
        payload = SHORT.ljust(125, b".")
        await connection.send(frame(PING, payload))
        await connection.pong(payload)
        await connection.still_works()


async def _ten_pings(stage: Stage) -> None:
    async with stage.connect() as connection:
        await connection.send(frame(PING, SHORT) * 10)
        for _ in range(10):
            await connection.pong(SHORT)
        await connection.still_works()


async def _unasked_pong(stage: Stage) -> None:
    async with stage.connect() as connection:
        await connection.send(frame(PONG, SHORT))
        await connection.still_works()


async def _ping_between_fragments(stage: Stage) -> None:
    async with stage.connect() as connection:
        await connection.send(frame(TEXT, CANARY_PING[:9], fin=False), frame(PING, SHORT))
        await connection.pong(SHORT)
        await connection.send(frame(CONTINUATION, CANARY_PING[9:]))
        assert (await connection.event())["type"] == "ksmpv3.pong"
        await connection.still_works()


CONTROL: Final = [
    close("a ping of 126 bytes", 1002, frame(PING, SHORT.ljust(126, b"."))),
    close("a pong of 126 bytes", 1002, frame(PONG, SHORT.ljust(126, b"."))),
    close("a fragmented ping", 1002, frame(PING, SHORT, fin=False)),
    close("a fragmented pong", 1002, frame(PONG, SHORT, fin=False)),
    close("a fragmented close", 1002, frame(CLOSE, _coded(1000), fin=False)),
    case("a ping of 125 bytes", "a pong with the same bytes", _longest_ping),
    case("ten pings at once", "ten pongs; the connection goes on", _ten_pings),
    case("a pong that was not asked for", "nothing; the connection goes on", _unasked_pong),
    case(
        "a ping between fragments",
        "its pong at once, and the message in the end",
        _ping_between_fragments,
    ),
    _flood("a flood of pings", frame(PING, SHORT) * 200),
    _flood("a flood of pongs", frame(PONG, SHORT) * 200),
    _flood("a flood of `ksmpv3.ping`", GOOD * 200),
    _flood("a flood of all three", (frame(PING, SHORT) + frame(PONG) + GOOD) * 70),
    _flood(
        "a flood of pings between fragments",
        frame(TEXT, CANARY_PING[:9], fin=False) + frame(PING, SHORT) * 200,
    ),
]


# ── closes ───────────────────────────────────────────────────────────────────────────────────


async def _after_close(stage: Stage) -> None:
    """What follows a close is not looked at, let alone stored."""
    peer = stage.fresh("peer")
    async with stage.connect() as connection:
        late = message(connection.codec.encode(send(connection.envelope(peer))))
        await connection.send(frame(CLOSE, _coded(1000)) + late + frame(PING, SHORT) + GOOD)
        await connection.closes(1000)
    async with stage.connect_fresh(user=peer) as reader:
        # What the peer sends now is committed after whatever the relay took before.
        envelope = reader.envelope(peer)
        await reader.tell(send(envelope))
        await reader.ack_of(envelope)
        await reader.resume()
        stored = [frame["envelope"]["senderUserId"] for frame in reader.inbox]
        assert stored == [peer]


async def _ping_after_close(stage: Stage) -> None:
    async with stage.connect() as connection:
        await connection.send(frame(CLOSE, _coded(1000)))
        await connection.send(frame(PING, SHORT))
        await connection.send(GOOD)
        await connection.closes(1000)


async def _ping_after_the_relay_closed(stage: Stage) -> None:
    """The relay has said 1003; whatever comes then, it waits for our close and says no more."""
    async with stage.connect(MSGPACK) as connection:
        await connection.send(frame(TEXT, SHORT))
        await connection.send(frame(PING, SHORT) * 3)
        await connection.closes(1003)


CLOSING: Final = [
    *(
        close(f"close {code}", 1002, frame(CLOSE, _coded(code, SHORT)))
        for code in (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2999, 5000, 65_535)
    ),
    close("a close of one byte", 1002, frame(CLOSE, b"\x03")),
    close("a close of 126 bytes", 1002, frame(CLOSE, _coded(1000, SHORT.ljust(124, b".")))),
    close("a close whose reason is not UTF-8", 1007, frame(CLOSE, _coded(1000, SHORT + b"\xff"))),
    _answer("close 1000", _coded(1000), "the same"),
    _answer("close 1001 with a reason", _coded(1001, SHORT), "the same, reason included"),
    _answer("close 3000", _coded(3000), "the same"),
    _answer("close 4999", _coded(4999), "the same"),
    _answer("a close without a code", b"", "the same"),
    case("data after a close", f"{closed(1000)} alone; nothing of it is stored", _after_close),
    case("a ping after a close", f"{closed(1000)} alone", _ping_after_close),
    case(
        "pings after the relay's own close",
        f"{closed(1003)} alone",
        _ping_after_the_relay_closed,
    ),
]


async def _close_between_fragments(stage: Stage) -> None:
    async with stage.connect() as connection:
        await connection.send(frame(TEXT, CANARY_PING[:9], fin=False))
        await connection.send(frame(CLOSE, _coded(1000)))
        await connection.closes(1000)


# ── lines that end without a close ───────────────────────────────────────────────────────────


def _half_closed(name: str, *sent: bytes) -> Case:
    async def act(stage: Stage) -> None:
        async with stage.connect() as connection:
            await connection.send(*sent)
            await connection.line.half_close()
            assert await connection.line.is_at_end()

    return case(name, ENDS, act)


def _reset(name: str, *sent: bytes) -> Case:
    async def act(stage: Stage) -> None:
        async with stage.connect() as connection:
            await connection.send(*sent)
            connection.line.reset()

    return case(name, ENDS, act)


async def _half_closed_behind_a_send(stage: Stage) -> None:
    """Whether it was acked in time or not: with the same key the answer is the same."""
    async with stage.connect() as connection:
        envelope = connection.envelope()
        await connection.tell(send(envelope))
        await connection.line.half_close()
        await connection.line.rest()
    async with stage.connect_fresh() as again:
        await again.tell(send(envelope))
        ack = await again.ack_of(envelope)
        assert ack["serverSeq"] == 1
        await again.still_works()


LINES: Final = [
    _half_closed("an end of line between messages"),
    _half_closed("an end of line in a frame's head", GOOD[:1]),
    _half_closed("an end of line in a frame", GOOD[:20]),
    _half_closed("an end of line between fragments", frame(TEXT, CANARY_PING, fin=False)),
    _reset("a reset between messages"),
    _reset("a reset in a frame", GOOD[:20]),
    _reset("a reset between fragments", frame(TEXT, CANARY_PING, fin=False)),
    case(
        "an end of line behind a send",
        "the line ends; the send, repeated, is acked as number 1",
        _half_closed_behind_a_send,
    ),
]

CASES: Final[list[Case]] = [
    *CONTROL,
    *CLOSING,
    case("a close between fragments", closed(1000), _close_between_fragments),
    *LINES,
]
