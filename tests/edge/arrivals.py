"""Rows: how the bytes of a handshake arrive, alone, together, slowly or not at all; and TLS."""

from __future__ import annotations

from typing import Final

import trio

from tests.edge.answers import closed, refused
from tests.edge.case import Case, Profile
from tests.edge.handshake import HELLO
from tests.edge.line import Line
from tests.edge.requests import (
    SWITCHED,
    case,
    changed,
    gets_refused,
    is_refused,
    switched,
)
from tests.edge.stage import Stage
from tests.wire.codecs import JSON
from tests.wire.messages import ping, send
from tests.wire.raw import TEXT, frame, message

CLOSES: Final = "How a connection ends"
EARLY: Final = "Refusals before the upgrade"
TLS_ALERT: Final = 0x15
DRIP_SECONDS: Final = 0.05

ENDS: Final = "the line ends without an answer"
ENDS_IN_TLS: Final = "the line ends; no answer but an alert of TLS"


# ── more than a request, in one segment ──────────────────────────────────────────────────────


async def _two_refused(stage: Stage) -> None:
    refused_twice = changed(stage, target=b"/elsewhere") * 2
    await gets_refused(stage, refused_twice, "not_found")


async def _two_good(stage: Stage) -> None:
    async with stage.line() as line:
        await line.send(changed(stage) * 2)
        connection = await switched(stage, line)
        await connection.closes(1002)


async def _frames_with_the_request(stage: Stage) -> None:
    async with stage.line() as line:
        nonce = stage.fresh("nonce")
        await line.send(changed(stage) + message(JSON.encode(ping(nonce))))
        connection = await switched(stage, line)
        assert (await connection.event())["nonce"] == nonce
        await connection.still_works()


async def _send_with_the_request(stage: Stage) -> None:
    async with stage.connect_fresh(user=stage.fresh("writer")) as writer:
        envelope = writer.envelope()
    async with stage.line() as line:
        own = {**envelope, "senderUserId": stage.user}
        early = message(JSON.encode(send(own)))
        await line.send(changed(stage) + early[:20])
        await line.send(early[20:])
        connection = await switched(stage, line)
        await connection.ack_of(own)
        await connection.still_works()


async def _bad_frame_with_the_request(stage: Stage) -> None:
    async with stage.line() as line:
        await line.send(changed(stage) + frame(TEXT, stage.user.encode(), masked=False))
        connection = await switched(stage, line)
        await connection.closes(1002)


async def _frames_with_a_refused_request(stage: Stage) -> None:
    early = message(JSON.encode(ping(stage.fresh("nonce"))))
    await gets_refused(stage, changed(stage, has_token=False) + early * 50, "unauthenticated")


async def _frames_before_a_refusal(stage: Stage) -> None:
    async with stage.line() as line:
        await line.send(changed(stage, has_token=False))
        await line.send(message(JSON.encode(ping(stage.fresh("nonce")))))
        await is_refused(line, "unauthenticated")


async def _frames_before_101(stage: Stage) -> None:
    async with stage.line() as line:
        nonce = stage.fresh("nonce")
        await line.send(changed(stage))
        await line.send(message(JSON.encode(ping(nonce))))
        connection = await switched(stage, line)
        assert (await connection.event())["nonce"] == nonce
        await connection.still_works()


async def _bytewise(stage: Stage) -> None:
    async with stage.line() as line:
        for byte in changed(stage):
            await line.send(bytes([byte]))
        connection = await switched(stage, line)
        await connection.still_works()


SEGMENTS: Final = [
    case("two refused requests in one segment", f"one {refused('not_found')}", _two_refused),
    case(
        "two good requests in one segment",
        f"101, connected, then {closed(1002)}: the second is read as frames",
        _two_good,
        CLOSES,
    ),
    case("frames in one segment with the request", SWITCHED, _frames_with_the_request, CLOSES),
    case("a send cut in two around the end of the segment", SWITCHED, _send_with_the_request),
    case("frames sent before the 101 has come", SWITCHED, _frames_before_101),
    case(
        "a bad frame in one segment with the request",
        f"101, connected, then {closed(1002)}",
        _bad_frame_with_the_request,
        CLOSES,
    ),
    case(
        "frames in one segment with a refused request",
        refused("unauthenticated"),
        _frames_with_a_refused_request,
    ),
    case(
        "frames sent before the refusal has come",
        refused("unauthenticated"),
        _frames_before_a_refusal,
    ),
    case("a request in segments of one byte", SWITCHED, _bytewise),
]


# ── requests that do not come to their end ───────────────────────────────────────────────────


async def _nothing(stage: Stage) -> None:
    async with stage.line() as line:
        await is_refused(line, "handshake_timeout")


async def _half(stage: Stage) -> None:
    async with stage.line() as line:
        await line.send(changed(stage)[:-2])
        await is_refused(line, "handshake_timeout")


async def _dripping(stage: Stage) -> None:
    """A byte now and then: each of them is progress, and all of them together are too slow."""
    async with stage.line() as line, trio.open_nursery() as nursery:
        nursery.start_soon(_drip, line, changed(stage))
        await is_refused(line, "handshake_timeout")
        nursery.cancel_scope.cancel()


async def _drip(line: Line, request: bytes) -> None:
    for byte in request:
        await line.send(bytes([byte]))
        await trio.sleep(DRIP_SECONDS)


async def _half_closed_at_once(stage: Stage) -> None:
    async with stage.line() as line:
        await line.half_close()
        assert await line.is_at_end()


async def _half_closed_in_the_request(stage: Stage) -> None:
    async with stage.line() as line:
        await line.send(changed(stage)[:-2])
        await line.half_close()
        await is_refused(line, "bad_request")


async def _half_closed_behind_a_refused_request(stage: Stage) -> None:
    async with stage.line() as line:
        await line.send(changed(stage, has_token=False))
        await line.half_close()
        await is_refused(line, "unauthenticated")


async def _reset_in_the_request(stage: Stage) -> None:
    async with stage.line() as line:
        await line.send(changed(stage)[:-2])
        line.reset()


async def _reset_behind_the_request(stage: Stage) -> None:
    async with stage.line() as line:
        await line.send(changed(stage))
        line.reset()


TIMES: Final = [
    case("nothing", refused("handshake_timeout"), _nothing, profile=Profile.HASTY),
    case("half a request", refused("handshake_timeout"), _half, profile=Profile.HASTY),
    case("a request that drips", refused("handshake_timeout"), _dripping, profile=Profile.HASTY),
]

ENDS_OF_LINE: Final = [
    case("an end of line without a byte", ENDS, _half_closed_at_once),
    case("an end of line in the request", refused("bad_request"), _half_closed_in_the_request),
    case(
        "an end of line behind a refused request",
        refused("unauthenticated"),
        _half_closed_behind_a_refused_request,
    ),
    case("a reset in the request", ENDS, _reset_in_the_request),
    case("a reset behind the request", ENDS, _reset_behind_the_request),
]


# ── a relay that speaks TLS ──────────────────────────────────────────────────────────────────


def _to_tls(name: str, sent: bytes, *, then_ends: bool = False) -> Case:
    """Bytes to a relay that speaks TLS, before TLS: it says nothing of HTTP, and hangs up."""

    async def act(stage: Stage) -> None:
        async with stage.line(plain=True) as line:
            await line.send(sent)
            if then_ends:
                await line.half_close()
            said = await line.rest()
            assert not said or said[0] == TLS_ALERT, said

    return case(name, ENDS_IN_TLS, act, profile=Profile.TLS)


async def _plain_request_to_tls(stage: Stage) -> None:
    async with stage.line(plain=True) as line:
        await line.send(changed(stage))
        said = await line.rest()
        assert not said or said[0] == TLS_ALERT, said


async def _nothing_over_tls(stage: Stage) -> None:
    async with stage.line() as line:
        await line.send(b"G")
        await is_refused(line, "handshake_timeout")


TLS: Final = [
    _to_tls("garbage instead of TLS", b"\x00garbage\xff" * 64),
    _to_tls("nothing instead of TLS", b""),
    _to_tls("an end of line instead of TLS", b"", then_ends=True),
    _to_tls("half a TLS hello", HELLO[:40]),
    _to_tls("half a TLS hello, then an end of line", HELLO[:40], then_ends=True),
    _to_tls("a TLS hello of garbage", HELLO),
    _to_tls("a TLS record too long for TLS", b"\x16\x03\x01\xff\xff" + bytes(70_000)),
    case(
        "a plain request to a relay that speaks TLS",
        ENDS_IN_TLS,
        _plain_request_to_tls,
        profile=Profile.TLS,
    ),
    case(
        "TLS, then one byte of a request",
        refused("handshake_timeout"),
        _nothing_over_tls,
        profile=Profile.TLS,
    ),
]

CASES: Final[list[Case]] = [*SEGMENTS, *ENDS_OF_LINE]
WAITING: Final[list[Case]] = [*TIMES, *TLS]
"""Their answers take as long as a handshake may; so these rows are run side by side."""
