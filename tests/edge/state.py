"""State: good events at the wrong time, in the wrong name, or of what does not exist."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tests.edge.answers import assert_error, closed, goes_on
from tests.edge.case import Case
from tests.edge.connection import Connection
from tests.edge.flooding import CASES as FLOODING_CASES
from tests.edge.refusing import BOTH, about, bad_events, canary_envelope
from tests.edge.relays import CANARY
from tests.edge.stage import Stage
from tests.edge.state_of_sends import CASES as SENDING_CASES
from tests.wire.codecs import Event
from tests.wire.messages import ack_read, ping, resume, send

STATE: Final = "State"
RESUME: Final = "ksmpv3.resume"
ACK_READ: Final = "ksmpv3.ack.read"
ABOUT_RESUME: Final[Event] = {"type": "ksmpv3.resume"}


# ── resuming ─────────────────────────────────────────────────────────────────────────────────


async def _resumes_twice(stage: Stage) -> None:
    for codec in BOTH:
        async with stage.connect(codec) as connection:
            if not connection.is_resumed:
                await connection.resume()
            for again in (resume(0), resume(None), resume(2**53 - 1)):
                await connection.tell(again)
                await connection.error("already_resumed", ABOUT_RESUME)
            await connection.tell(resume(0, epoch=CANARY))
            await connection.error("already_resumed", ABOUT_RESUME)
            await _assert_stream_goes_on(connection)


async def _assert_stream_goes_on(connection: Connection) -> None:
    """What the user sends is acked, and is the very next frame of the inbox."""
    while connection.inbox:
        await connection.inbox_frame()
    sent = connection.envelope(connection.user)
    await connection.tell(send(sent))
    await connection.ack_of(sent)
    frame = await connection.inbox_frame()
    assert frame["envelope"]["idempotencyKey"] == sent["idempotencyKey"], frame


async def _head(stage: Stage, connection: Connection) -> int:
    """The head of the user's inbox, once there is something in it."""
    sent = connection.envelope(connection.user)
    await connection.tell(send(sent))
    await connection.ack_of(sent)
    async with stage.connect_fresh(user=connection.user, device=stage.fresh("other")) as other:
        return int(other.connected["headGlobalInboxSeq"])


async def _assert_resync(
    connection: Connection, event: Event, code: str, hints: Mapping[str, object]
) -> None:
    """The resume is refused with exactly these hints, and has delivered nothing."""
    await connection.tell(event)
    error = await connection.error(code, ABOUT_RESUME)
    known = {"type", "code", "message", "retryable", "action", "about"}
    assert {name: error[name] for name in error if name not in known} == hints
    nonce = f"{CANARY}-barrier"
    await connection.tell(ping(nonce))
    answer = await connection.event()
    assert (answer["type"], answer["nonce"]) == ("ksmpv3.pong", nonce), answer
    assert connection.inbox == [], "frames without a good resume"


async def _cursor_ahead(stage: Stage) -> None:
    for codec in BOTH:
        async with stage.connect(codec, resume=False) as connection:
            head = await _head(stage, connection)
            for cursor in (head + 1, 2**53 - 1):
                hints = {"headGlobalInboxSeq": head}
                await _assert_resync(connection, resume(cursor), "cursor_ahead", hints)
            await connection.resume(head)
            await _assert_stream_goes_on(connection)


async def _another_epoch(stage: Stage) -> None:
    for codec in BOTH:
        async with stage.connect(codec, resume=False) as connection:
            head = await _head(stage, connection)
            epoch = connection.connected["epoch"]
            hints = {"epoch": epoch, "headGlobalInboxSeq": head}
            for cursor, other in ((0, CANARY), (head, epoch + "x"), (head + 1, epoch.swapcase())):
                event = resume(cursor, epoch=other)
                await _assert_resync(connection, event, "epoch_changed", hints)
            own = resume(head + 1, epoch=epoch)
            await _assert_resync(connection, own, "cursor_ahead", {"headGlobalInboxSeq": head})
            await connection.resume(head)
            await _assert_stream_goes_on(connection)


async def _null_and_another_epoch(stage: Stage) -> None:
    for codec in BOTH:
        async with stage.connect(codec, resume=False) as connection:
            head = await _head(stage, connection)
            await connection.tell(resume(None, epoch=CANARY))
            complete = await connection.event()
            assert complete == {"type": "ksmpv3.resume.complete", "globalInboxSeq": head}
            await _assert_stream_goes_on(connection)


async def _sends_without_resuming(stage: Stage) -> None:
    for codec in BOTH:
        async with stage.connect(codec, resume=False) as connection:
            head = await _head(stage, connection)
            await connection.tell(ping(f"{CANARY}-n"))
            assert (await connection.event())["type"] == "ksmpv3.pong"
            assert connection.inbox == [], "frames without a resume"
            await connection.resume(head - 1)
            assert [frame["globalInboxSeq"] for frame in connection.inbox] == [head]
            await connection.still_works()


# ── reading ──────────────────────────────────────────────────────────────────────────────────


async def _cannot_be_read(stage: Stage) -> None:
    for codec in BOTH:
        alice, bob, eve = stage.fresh("alice"), stage.fresh("bob"), stage.fresh("eve")
        talk = stage.fresh("talk")
        async with (
            stage.connect(codec, user=alice) as writer,
            stage.connect(codec, user=eve) as outsider,
        ):
            sent = writer.envelope(bob, conversationId=talk)
            await writer.tell(send(sent))
            await writer.ack_of(sent)
            answers = [
                await _refusal(asker, ack_read(talk, peer, server_seq))
                for asker, peer, server_seq in (
                    (writer, bob, 2),
                    (writer, bob, 2**53 - 1),
                    (writer, alice, 1),
                    (writer, eve, 0),
                    (outsider, alice, 1),
                    (outsider, bob, 1),
                    (outsider, alice, 0),
                    (outsider, eve, 1),
                    (outsider, stage.fresh("nobody"), 1),
                )
            ]
            about_talk = {"type": "ksmpv3.ack.read", "conversationId": talk}
            assert_error(answers[0], "invalid_seq", about_talk)
            # Byte for byte: whether others have such a conversation cannot be asked.
            assert all(codec.encode(answer) == codec.encode(answers[0]) for answer in answers)
            unknown = stage.fresh("talk")
            other = await _refusal(outsider, ack_read(unknown, alice, 1))
            assert other == answers[0] | {"about": about_talk | {"conversationId": unknown}}
            await outsider.still_works()
            await writer.tell(ack_read(talk, bob, 1))
            assert (await writer.event())["serverSeq"] == 1


async def _refusal(connection: Connection, event: Event) -> Event:
    await connection.tell(event)
    return await connection.event()


# ── what only the relay says, and what it does not know ──────────────────────────────────────


_RELAY_FIELDS: Final[dict[str, object]] = {
    "serverSeq": 1,
    "serverReceivedAtMs": 1_790_000_000_000,
    "chain": CANARY,
    "globalInboxSeq": 1,
}

_NO_TOKENS: Final[tuple[object, ...]] = (5, [CANARY], None, {})

BAD: Final = [
    bad_events(
        STATE,
        "a field in the envelope that only the relay sets",
        [send(canary_envelope(**{name: value})) for name, value in _RELAY_FIELDS.items()],
    ),
    bad_events(
        STATE,
        "a field beside the envelope that only the relay sets",
        [
            send(canary_envelope()) | {name: value}
            for name, value in (_RELAY_FIELDS | {"previousGlobalInboxSeq": 0}).items()
        ],
    ),
    bad_events(
        STATE,
        "a read with a reader or a time",
        [
            ack_read(f"{CANARY}-talk", f"{CANARY}-peer", 1, **{name: value})
            for name, value in (("readerUserId", CANARY), ("readAtMs", 1), ("userId", CANARY))
        ],
    ),
    bad_events(STATE, "an empty ciphertext", [send(canary_envelope(ciphertext=b""))]),
    bad_events(
        STATE,
        'a cursor of −1, 2⁵³ or "null"',
        [resume(0, lastGlobalInboxSeq=cursor) for cursor in (-1, 2**53, "null")],
    ),
    bad_events(
        STATE,
        "a refresh whose token is a number, a list, nil, or missing",
        [
            *({"type": "ksmpv3.auth", "token": token} for token in _NO_TOKENS),
            {"type": "ksmpv3.auth"},
            {"type": "ksmpv3.auth", "jwt": CANARY},
        ],
    ),
    bad_events(
        STATE,
        "push registrations, which this version does not have",
        [
            {"type": "ksmpv3.push.register", "provider": "apns", "deviceToken": CANARY},
            {"type": "ksmpv3.push.unregister"},
        ],
        "unknown_event",
    ),
]


async def _fourth_strike(stage: Stage) -> None:
    malformed, unknown = ping() | {CANARY: CANARY}, {"type": f"ksmpv3.{CANARY}"}
    for codec in BOTH:
        for four in ([malformed] * 4, [unknown] * 4, [malformed, unknown, unknown, malformed]):
            async with stage.connect(codec) as connection:
                for bad in four[:3]:
                    await connection.tell(bad)
                    await _assert_strike(connection, bad)
                await connection.still_works()
                # Nothing behind the fourth is taken.
                late = connection.envelope()
                await connection.tell(four[3], send(late))
                await _assert_strike(connection, four[3])
                await connection.closes(4400)


async def _assert_strike(connection: Connection, bad: Event) -> None:
    code = "malformed" if about(bad) else "unknown_event"
    await connection.error(code, about(bad))


CASES: Final[list[Case]] = [
    Case(STATE, "a second resume", RESUME, goes_on("already_resumed"), _resumes_twice),
    Case(
        STATE,
        "a cursor ahead by one, or of 2⁵³ − 1",
        RESUME,
        "`cursor_ahead` with the head, nothing delivered; a good resume may follow",
        _cursor_ahead,
    ),
    Case(
        STATE,
        "another epoch, with a cursor that fits or is ahead",
        RESUME,
        "`epoch_changed` with epoch and head; of two faults the epoch is judged first",
        _another_epoch,
    ),
    Case(
        STATE,
        "a null cursor with another epoch",
        RESUME,
        "taken: the epoch is not looked at",
        _null_and_another_epoch,
    ),
    Case(
        STATE,
        "sends before the resume",
        RESUME,
        "acknowledged; no frame before the resume",
        _sends_without_resuming,
    ),
    Case(
        STATE,
        "a read above the head, of others' conversation, of none",
        ACK_READ,
        f"{goes_on('invalid_seq')}; all the same bytes",
        _cannot_be_read,
    ),
    *BAD,
    Case(
        STATE,
        "the fourth malformed or unknown event within 10 s",
        "Events and how they are written",
        f"answered as the others; then {closed(4400)}",
        _fourth_strike,
    ),
    *SENDING_CASES,
    *FLOODING_CASES,
]
