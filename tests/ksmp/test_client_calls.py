"""Calls of the client and their answers, against a scripted relay, on both loops."""

from __future__ import annotations

import anyio
import pytest

from ksmp.client import Connection, ConnectionLostError, RefusedError, connect
from ksmp.events import (
    Envelope,
    Error,
    InboxFrame,
    Read,
    ResumeComplete,
    SendAck,
    ServerEvent,
)
from tests.ksmp.fake_relay import PEER, TOKEN, USER, FakeRelay, error, fake_relay

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["trio", "asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["ksmpv3.msgpack", "ksmpv3.json"])
def subprotocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def envelope(connection: Connection, number: int, ciphertext: bytes = b"sealed") -> Envelope:
    return connection.envelope(
        conversation_id="talk",
        recipient_user_id=PEER,
        message_id=f"m{number}",
        ciphertext=ciphertext,
        client_created_at_ms=5,
    )


async def next_event(connection: Connection) -> ServerEvent:
    return await anext(connection.events())


async def test_a_send_returns_its_ack_and_a_record_arrives_as_it_was_sent(
    subprotocol: str,
) -> None:
    ciphertext = bytes(range(256))

    def script(relay: FakeRelay) -> None:
        relay.greet()
        send = relay.hear("ksmpv3.send")
        assert list(send["envelope"]) == [
            "protocol",
            "conversationId",
            "messageId",
            "senderUserId",
            "recipientUserId",
            "ciphertext",
            "contentType",
            "clientCreatedAtMs",
            "idempotencyKey",
        ]
        assert send["envelope"]["senderUserId"] == USER
        relay.ack(send, 7)
        relay.hear("ksmpv3.resume")
        relay.frame(1, ciphertext)
        relay.wait_closed()

    with fake_relay(script) as url:
        async with connect(url, TOKEN, subprotocol=subprotocol) as connection:
            assert (connection.connected.user_id, connection.connected.epoch) == (USER, "e1")
            ack = await connection.send(envelope(connection, 1, ciphertext))
            await connection.resume(0)
            frame = await next_event(connection)

    assert (ack.server_seq, ack.message_id, ack.chain) == (7, "m1", (7).to_bytes(32, "big"))
    assert isinstance(frame, InboxFrame)
    assert (frame.envelope.ciphertext, frame.chain) == (ciphertext, (1).to_bytes(32, "big"))


async def test_each_of_many_sends_in_flight_gets_its_own_answer_whatever_their_order() -> None:
    def script(relay: FakeRelay) -> None:
        relay.greet()
        sends = [relay.hear("ksmpv3.send") for _ in range(100)]
        for send in reversed(sends):
            number = int(send["envelope"]["messageId"][1:])
            if number % 10:
                relay.ack(send, number)
            else:
                relay.refuse(send, "rate_limited")
        relay.wait_closed()

    outcomes: dict[int, int | str] = {}

    async def send(connection: Connection, number: int) -> None:
        try:
            outcomes[number] = (await connection.send(envelope(connection, number))).server_seq
        except RefusedError as refused:
            outcomes[number] = refused.error.code

    with fake_relay(script) as url:
        async with connect(url, TOKEN) as connection, anyio.create_task_group() as tasks:
            for number in range(100):
                tasks.start_soon(send, connection, number)

    assert outcomes == {n: n if n % 10 else "rate_limited" for n in range(100)}


async def test_a_refusal_carries_the_relays_error_and_the_connection_goes_on() -> None:
    def script(relay: FakeRelay) -> None:
        relay.greet()
        about = {"type": "ksmpv3.send", "conversationId": "talk"}
        relay.hear("ksmpv3.send")
        hints = {"retryable": True, "retryAfterMs": 250, "action": "retry"}
        relay.say(**error("overloaded", about=about, **hints))
        relay.ack(relay.hear("ksmpv3.send"), 1)
        relay.wait_closed()

    with fake_relay(script) as url:
        async with connect(url, TOKEN) as connection:
            with pytest.raises(RefusedError) as refused:
                await connection.send(envelope(connection, 1))
            ack = await connection.send(envelope(connection, 1))

    said = refused.value.error
    assert (said.code, said.retryable, said.retry_after_ms) == ("overloaded", True, 250)
    assert (said.action, refused.value.is_outcome_unknown) == ("retry", False)
    assert ack.server_seq == 1


async def test_a_cancelled_send_is_written_whole_and_its_answer_is_not_the_next_ones() -> None:
    def script(relay: FakeRelay) -> None:
        relay.greet()
        first = relay.hear("ksmpv3.send")
        second = relay.hear("ksmpv3.send")
        assert first == second
        relay.refuse(first, "rate_limited")
        relay.ack(second, 1)
        relay.wait_closed()

    with fake_relay(script) as url:
        async with connect(url, TOKEN) as connection:
            with anyio.move_on_after(0.05) as cut:
                await connection.send(envelope(connection, 1))
            ack = await connection.send(envelope(connection, 1))

    assert cut.cancelled_caught
    assert ack.server_seq == 1


async def test_more_than_the_relay_takes_at_once_is_sent_while_reading_goes_on() -> None:
    count, size = 60, 200_000

    def script(relay: FakeRelay) -> None:
        relay.greet()
        for _ in range(count):
            send = relay.hear("ksmpv3.send")
            relay.frame(1, bytes(size))
            relay.ack(send, 1)
        relay.wait_closed()

    acks: list[SendAck] = []

    async def send(connection: Connection, number: int) -> None:
        acks.append(await connection.send(envelope(connection, number, bytes(size))))

    with fake_relay(script) as url:
        async with connect(url, TOKEN) as connection, anyio.create_task_group() as tasks:
            for number in range(count):
                tasks.start_soon(send, connection, number)
            for _ in range(count):
                await next_event(connection)

    assert len(acks) == count


async def test_an_event_that_is_not_valid_is_not_sent() -> None:
    def script(relay: FakeRelay) -> None:
        relay.greet()
        assert relay.wait_closed() == 1000

    with fake_relay(script) as url:
        async with connect(url, TOKEN) as connection:
            for ciphertext in (b"", bytes(410_000)):
                with pytest.raises(ValueError, match="event"):
                    await connection.send(envelope(connection, 1, ciphertext))
            with pytest.raises(ValueError, match="event"):
                await connection.ack_read("talk with a space", PEER, 1)
            with pytest.raises(ValueError, match="event"):
                await connection.resume(-1)


async def test_a_read_is_answered_by_ones_own_and_other_reads_are_events() -> None:
    def read(reader: str, peer: str, seq: int) -> dict[str, object]:
        ids = {"conversationId": "talk", "readerUserId": reader, "peerUserId": peer}
        return {"type": "ksmpv3.read", **ids, "serverSeq": seq, "readAtMs": 9}

    def script(relay: FakeRelay) -> None:
        relay.greet()
        asked = relay.hear("ksmpv3.ack.read")
        assert asked == {
            "type": "ksmpv3.ack.read",
            "conversationId": "talk",
            "peerUserId": PEER,
            "serverSeq": 5,
            "private": True,
        }
        relay.say(**read(PEER, USER, 9))
        relay.say(**read(USER, PEER, 3))
        relay.say(**read(USER, PEER, 6))
        relay.wait_closed()

    with fake_relay(script) as url:
        async with connect(url, TOKEN) as connection:
            answer = await connection.ack_read("talk", PEER, 5, private=True)
            events = [await next_event(connection) for _ in range(2)]

    assert (answer.reader_user_id, answer.server_seq) == (USER, 6)
    assert [e.server_seq for e in events if isinstance(e, Read)] == [9, 3]


async def test_reads_of_one_conversation_take_turns_so_that_a_refusal_meets_its_own() -> None:
    def script(relay: FakeRelay) -> None:
        relay.greet()
        for _ in range(2):
            asked = relay.hear("ksmpv3.ack.read")
            with pytest.raises(TimeoutError):  # the other one waits for this one's answer
                relay.connection.recv(timeout=0.1)
            ids = {
                "conversationId": "talk",
                "readerUserId": USER,
                "peerUserId": asked["peerUserId"],
            }
            if asked["serverSeq"] == 99:
                about = {"type": "ksmpv3.ack.read", "conversationId": "talk"}
                relay.say(**error("invalid_seq", about=about))
            else:
                relay.say(type="ksmpv3.read", **ids, serverSeq=1, readAtMs=9)
        relay.wait_closed()

    outcomes: dict[str, int | str] = {}

    async def ack_read(connection: Connection, peer: str, seq: int) -> None:
        try:
            outcomes[peer] = (await connection.ack_read("talk", peer, seq)).server_seq
        except RefusedError as refused:
            outcomes[peer] = refused.error.code

    with fake_relay(script) as url:
        async with connect(url, TOKEN) as connection, anyio.create_task_group() as tasks:
            tasks.start_soon(ack_read, connection, "bob", 1)
            tasks.start_soon(ack_read, connection, "carol", 99)

    assert outcomes == {"bob": 1, "carol": "invalid_seq"}


async def test_resume_returns_when_the_stream_begins_and_events_bring_it_in_order() -> None:
    def script(relay: FakeRelay) -> None:
        relay.greet()
        assert relay.hear("ksmpv3.resume") == {
            "type": "ksmpv3.resume",
            "lastGlobalInboxSeq": 3,
            "epoch": "e1",
        }
        for number in range(4, 504):
            relay.frame(number)
        relay.say(type="ksmpv3.resume.complete", globalInboxSeq=503)
        relay.frame(504)
        relay.wait_closed()

    with fake_relay(script) as url:
        async with connect(url, TOKEN, max_unread_bytes=1_000) as connection:
            await connection.resume(3, "e1")
            events = [await next_event(connection) for _ in range(502)]

    assert isinstance(events[500], ResumeComplete)
    frames = [event.global_inbox_seq for event in events if isinstance(event, InboxFrame)]
    assert frames == list(range(4, 505))


async def test_a_refused_resume_is_an_error_and_may_be_tried_again() -> None:
    def script(relay: FakeRelay) -> None:
        relay.greet()
        relay.hear("ksmpv3.resume")
        about = {"type": "ksmpv3.resume"}
        relay.say(**error("epoch_changed", about=about, epoch="e2", headGlobalInboxSeq=4))
        assert relay.hear("ksmpv3.resume") == {"type": "ksmpv3.resume", "lastGlobalInboxSeq": None}
        relay.say(type="ksmpv3.resume.complete", globalInboxSeq=4)
        relay.wait_closed()

    with fake_relay(script) as url:
        async with connect(url, TOKEN) as connection:
            with pytest.raises(RefusedError) as refused:
                await connection.resume(9, "e1")
            await connection.resume(None)
            complete = await next_event(connection)

    assert (refused.value.error.epoch, refused.value.error.head_global_inbox_seq) == ("e2", 4)
    assert isinstance(complete, ResumeComplete)


@pytest.mark.parametrize("about", [{}, {"about": {"type": "ksmpv3.resume"}}])
async def test_a_truncated_replay_is_told_as_an_event_and_goes_on(about: dict[str, object]) -> None:
    def script(relay: FakeRelay) -> None:
        relay.greet()
        relay.hear("ksmpv3.resume")
        relay.say(**error("replay_truncated", truncatedThrough=40, **about))
        relay.frame(41)
        relay.wait_closed()

    with fake_relay(script) as url:
        async with connect(url, TOKEN) as connection:
            await connection.resume(0)
            notice, frame = await next_event(connection), await next_event(connection)

    assert isinstance(notice, Error)
    assert (notice.code, notice.truncated_through) == ("replay_truncated", 40)
    assert isinstance(frame, InboxFrame)


async def test_pings_and_refreshes_are_answered() -> None:
    def script(relay: FakeRelay) -> None:
        relay.greet()
        pings = [relay.hear("ksmpv3.ping") for _ in range(3)]
        for ping in reversed(pings):
            relay.say(type="ksmpv3.pong", nonce=ping["nonce"], serverTimeMs=int(ping["nonce"]))
        assert relay.hear("ksmpv3.auth") == {"type": "ksmpv3.auth", "token": "fresh"}
        relay.say(type="ksmpv3.auth.ok", tokenExpiresAtMs=77)
        relay.hear("ksmpv3.auth")
        relay.say(**error("unauthenticated", about={"type": "ksmpv3.auth"}))
        relay.connection.close(4401)

    times: list[int] = []

    async def ping(connection: Connection) -> None:
        times.append((await connection.ping()).server_time_ms)

    with fake_relay(script) as url:
        async with connect(url, TOKEN) as connection:
            async with anyio.create_task_group() as tasks:
                for _ in range(3):
                    tasks.start_soon(ping, connection)
            assert (await connection.refresh("fresh")).token_expires_at_ms == 77
            with pytest.raises(RefusedError, match="unauthenticated"):
                await connection.refresh("stale")
            with pytest.raises(ConnectionLostError) as lost:
                await next_event(connection)

    assert sorted(times) == [1, 2, 3]
    assert lost.value.close_code == 4401
