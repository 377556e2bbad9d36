"""State: more than the relay wants to hear, and more conversations than it wants to hold."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final

import trio

from tests.edge.answers import assert_error, closed
from tests.edge.case import Case, Profile
from tests.edge.connection import Connection
from tests.edge.refusing import BOTH
from tests.edge.stage import Stage
from tests.wire.codecs import RawFrame
from tests.wire.messages import ack_read, send
from tests.wire.raw import BINARY, CLOSE, TEXT

STATE: Final = "State"

RATE: Final = 20
BURST: Final = 60
"""`sends_per_second` and `sends_burst` of the profile `STRICT`."""

MANY: Final = 50
"""How many are sent at once, again and again, until the relay has had enough."""

LIVE: Final = 50
"""`live_conversations` of the profile `CROWDED`."""

IN_FLIGHT: Final = 40
CONVERSATIONS: Final = 1_000

Flood = Callable[[Connection], RawFrame]


def _forged(connection: Connection) -> RawFrame:
    forged = connection.envelope(senderUserId=connection.envelope()["recipientUserId"])
    return connection.codec.encode(send(forged))


def _too_fast(connection: Connection) -> RawFrame:
    return connection.codec.encode(send(connection.envelope()))


def _reads_too_fast(connection: Connection) -> RawFrame:
    talk = connection.envelope()
    event = ack_read(talk["conversationId"], talk["recipientUserId"], 0)
    return connection.codec.encode(event)


def _flood(row: str, make: Flood, code: str, others: frozenset[str] = frozenset()) -> Case:
    """A row of far more than ten times the rate; `others`: what the first of them are answered."""

    async def act(stage: Stage) -> None:
        for codec in BOTH:
            begun = trio.current_time()
            async with (
                stage.connect(codec, user=stage.fresh("flooder")) as connection,
                trio.open_nursery() as nursery,
            ):
                nursery.start_soon(_flood_with, connection, make)
                refusals = await _cut_off(connection, code, others)
                nursery.cancel_scope.cancel()
            # One too many: of a burst, and of what the time since then has made room for.
            most = 9 * (BURST + RATE * (trio.current_time() - begun))
            assert 9 * BURST < refusals <= most + 1, (refusals, most)
            async with stage.connect(codec, user=stage.fresh("other")) as other:
                await other.still_works()

    answer = f"each `{code}` until there are too many; then {closed(4429)}"
    return Case(STATE, row, "How a connection ends", answer, act, Profile.STRICT)


async def _flood_with(connection: Connection, make: Flood) -> None:
    while True:
        await connection.tell_raw(*(make(connection) for _ in range(MANY)))


async def _cut_off(connection: Connection, code: str, others: frozenset[str]) -> int:
    """Refused and refused, and then closed; how often refused."""
    refusals = 0
    while (frame := await connection.line.frame()) is not None and frame.opcode in (TEXT, BINARY):
        raw: RawFrame = frame.payload.decode() if frame.opcode == TEXT else frame.payload
        event = connection.codec.decode(raw)
        if event.get("code") == code:
            assert_error(event, code, event["about"])
            refusals += 1
        else:
            assert event.get("code", event["type"]) in others, event
    assert frame is not None, "the line ended without a close"
    assert (frame.opcode, frame.payload) == (CLOSE, (4429).to_bytes(2, "big"))
    return refusals


async def _many_conversations(stage: Stage) -> None:
    for codec in BOTH:
        async with stage.connect(codec) as connection:
            first = connection.envelope()
            await connection.tell(send(first))
            await connection.ack_of(first)
            for _ in range(CONVERSATIONS // len(BOTH) // IN_FLIGHT):
                envelopes = [connection.envelope() for _ in range(IN_FLIGHT)]
                await connection.tell(*map(send, envelopes))
                acks = [await connection.event() for _ in envelopes]
                assert {ack["type"] for ack in acks} == {"ksmpv3.send.ack"}, acks
            assert await _live(stage) <= LIVE
            # The first is long out of memory, and goes on where it was.
            again = first | {"idempotencyKey": stage.fresh("key")}
            await connection.tell(send(again))
            assert (await connection.ack_of(again))["serverSeq"] == 2
            await connection.still_works()


async def _live(stage: Stage) -> int:
    """How many conversations the relay has in memory."""
    await stage.relay.status()
    lines = stage.relay.process.output().splitlines()
    status = next(line for line in reversed(lines) if b'"relay.status"' in line)
    return int(json.loads(status)["conversations"])


CASES: Final[list[Case]] = [
    _flood("forged senders at ten times the rate of sends", _forged, "forbidden_sender"),
    _flood(
        "good sends at ten times their rate",
        _too_fast,
        "rate_limited",
        frozenset({"ksmpv3.send.ack", "ksmpv3.inbox.frame"}),
    ),
    _flood(
        "reads at ten times the rate of sends",
        _reads_too_fast,
        "rate_limited",
        frozenset({"invalid_seq"}),
    ),
    Case(
        STATE,
        f"{CONVERSATIONS:,} conversations of one user",
        "Limits",
        "acknowledged; no more of them stay in memory than `live_conversations`",
        _many_conversations,
        Profile.CROWDED,
    ),
]
