"""How connections of the client begin and end, against a scripted relay, on both loops."""

from __future__ import annotations

import json
import logging
import ssl
import threading

import anyio
import anyio.to_thread
import pytest
import trustme

from ksmp.client import Connection, ConnectionLostError, HandshakeRefusedError, connect
from ksmp.events import Error, InboxFrame, ServerEvent
from tests.ksmp.fake_relay import PEER, TOKEN, FakeRelay, error, fake_relay, mute_relay

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["trio", "asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def send(connection: Connection, ciphertext: bytes = b"sealed") -> None:
    await connection.send(
        connection.envelope(
            conversation_id="talk",
            recipient_user_id=PEER,
            message_id="m1",
            ciphertext=ciphertext,
            client_created_at_ms=5,
        )
    )


async def events_until_lost(
    connection: Connection,
) -> tuple[list[ServerEvent], ConnectionLostError]:
    events = []
    with pytest.raises(ConnectionLostError) as lost:
        async for event in connection.events():
            events.append(event)  # noqa: PERF401 (what came before the end counts)
    return events, lost.value


def greet_and_wait(relay: FakeRelay) -> None:
    relay.greet()
    relay.wait_closed()


@pytest.mark.parametrize(
    "status,code", [(401, "unauthenticated"), (503, "draining"), (400, "bad_request")]
)
async def test_a_refused_handshake_tells_status_and_error(status: int, code: str) -> None:
    body = json.dumps(error(code)).encode()

    with fake_relay(greet_and_wait, refusal=(status, body)) as url:
        with pytest.raises(HandshakeRefusedError) as refused:
            async with connect(url, TOKEN):
                raise AssertionError("connected")

    assert refused.value.status == status
    assert refused.value.error is not None
    assert refused.value.error.code == code


async def test_a_refusal_by_someone_who_is_no_relay_has_a_status_and_no_error() -> None:
    with fake_relay(greet_and_wait, refusal=(502, b"<html>bad gateway</html>")) as url:
        with pytest.raises(HandshakeRefusedError) as refused:
            async with connect(url, TOKEN):
                raise AssertionError("connected")

    assert (refused.value.status, refused.value.error) == (502, None)


async def test_a_relay_that_is_not_there_is_an_os_error() -> None:
    with pytest.raises(OSError):  # noqa: PT011 (which one is the platform's to say)
        async with connect("ws://127.0.0.1:1", TOKEN):
            raise AssertionError("connected")


async def test_a_relay_that_says_nothing_is_given_up_in_time() -> None:
    with mute_relay(keepalive_ms=None) as url, pytest.raises(TimeoutError):
        async with connect(url, TOKEN, connect_seconds=0.1):
            raise AssertionError("connected")


async def test_a_connection_that_ends_before_its_first_event_says_why() -> None:
    def script(relay: FakeRelay) -> None:
        relay.say(**error("token_expired"))
        relay.connection.close(4401)

    with fake_relay(script) as url, pytest.raises(ConnectionLostError) as lost:
        async with connect(url, TOKEN):
            raise AssertionError("connected")

    assert lost.value.close_code == 4401
    assert lost.value.error is not None
    assert lost.value.error.code == "token_expired"


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1", "ws://", "ws://127.0.0.1/ksmp/v3?token=x", "ws://a:b@127.0.0.1"],
)
async def test_a_url_that_no_relay_has_is_not_connected_to(url: str) -> None:
    with pytest.raises(ValueError, match="URL of a relay"):
        async with connect(url, TOKEN):
            raise AssertionError("connected")


async def test_over_tls_the_relays_certificate_is_checked() -> None:
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)

    with fake_relay(greet_and_wait, tls=server) as url:
        with pytest.raises(OSError):  # noqa: PT011 (an ssl.SSLError, or what became of it)
            async with connect(url, TOKEN):
                raise AssertionError("connected without trust")
        async with connect(url, TOKEN, ssl_context=trusting) as connection:
            assert connection.connected.epoch == "e1"


async def test_what_arrived_is_given_before_the_end_and_the_end_says_why() -> None:
    def script(relay: FakeRelay) -> None:
        relay.greet()
        relay.frame(1)
        relay.frame(2)
        relay.say(**error("replaced", retryable=True, retryAfterMs=60_000, action="reconnect"))
        relay.connection.close(4409)

    with fake_relay(script) as url:
        async with connect(url, TOKEN) as connection:
            events, lost = await events_until_lost(connection)
            with pytest.raises(ConnectionLostError, match="4409"):
                await send(connection)

    assert [type(event) for event in events] == [InboxFrame, InboxFrame, Error]
    assert lost.close_code == 4409
    assert lost.error is not None
    assert (lost.error.code, lost.error.retry_after_ms) == ("replaced", 60_000)


async def test_every_call_under_way_is_woken_when_the_line_breaks() -> None:
    def script(relay: FakeRelay) -> None:
        relay.greet()
        for _ in range(2):
            relay.hear("ksmpv3.send")
        relay.hear("ksmpv3.ping")
        relay.connection.socket.shutdown(2)

    lost: list[int | None] = []

    async def call(connection: Connection, is_ping: bool) -> None:
        try:
            await (connection.ping() if is_ping else send(connection))
        except ConnectionLostError as error:
            lost.append(error.close_code)

    with fake_relay(script) as url:
        async with connect(url, TOKEN) as connection, anyio.create_task_group() as tasks:
            tasks.start_soon(call, connection, False)
            tasks.start_soon(call, connection, False)
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(call, connection, True)

    assert lost == [None, None, None]


async def test_a_relay_that_answers_no_ping_is_taken_for_dead() -> None:
    with mute_relay(keepalive_ms=40) as url:
        async with connect(url, TOKEN) as connection:
            with anyio.fail_after(5):
                _, lost = await events_until_lost(connection)

    assert lost.close_code is None


async def test_a_quiet_relay_that_answers_pings_is_not_taken_for_dead() -> None:
    def script(relay: FakeRelay) -> None:
        relay.greet(keepaliveMs=40)
        relay.hear("ksmpv3.ping")
        relay.say(type="ksmpv3.pong", nonce="1", serverTimeMs=1)
        relay.wait_closed()

    with fake_relay(script) as url:
        async with connect(url, TOKEN) as connection:
            with anyio.move_on_after(0.4):
                await anext(connection.events())
            pong = await connection.ping()

    assert pong.server_time_ms == 1


async def test_websocket_pings_are_answered_while_nobody_calls() -> None:
    answered = threading.Event()

    def script(relay: FakeRelay) -> None:
        relay.greet()
        assert relay.connection.ping().wait(5)
        answered.set()
        relay.wait_closed()

    with fake_relay(script) as url:
        async with connect(url, TOKEN):
            assert await anyio.to_thread.run_sync(answered.wait, 10)


async def test_what_nobody_takes_is_not_read_and_nothing_of_it_is_lost() -> None:
    all_sent = threading.Event()
    count = 200

    def script(relay: FakeRelay) -> None:
        relay.greet()
        for number in range(1, count + 1):
            relay.frame(number, bytes(200_000))
        all_sent.set()
        relay.wait_closed()

    with fake_relay(script) as url:
        async with connect(url, TOKEN) as connection:
            events = connection.events()
            first = await anext(events)
            is_all_sent = await anyio.to_thread.run_sync(all_sent.wait, 0.5)
            frames = [first] + [await anext(events) for _ in range(count - 1)]

    assert not is_all_sent
    numbers = [frame.global_inbox_seq for frame in frames if isinstance(frame, InboxFrame)]
    assert numbers == list(range(1, count + 1))


async def test_events_of_a_later_version_are_passed_over() -> None:
    def script(relay: FakeRelay) -> None:
        relay.greet(aFieldOfTomorrow=1)
        relay.say(type="ksmpv3.tomorrow", much={"more": [1]})
        relay.frame(1)
        relay.wait_closed()

    with fake_relay(script) as url:
        async with connect(url, TOKEN) as connection:
            event = await anext(connection.events())

    assert isinstance(event, InboxFrame)


async def test_what_is_no_event_ends_the_connection_with_1002() -> None:
    def script(relay: FakeRelay) -> None:
        relay.greet()
        relay.frame(1)
        relay.connection.send(b"\xc1")
        assert relay.wait_closed() == 1002

    with fake_relay(script) as url:
        async with connect(url, TOKEN) as connection:
            events, lost = await events_until_lost(connection)

    assert (len(events), lost.close_code) == (1, 1002)


async def test_what_the_block_raises_comes_out_alone_and_the_close_is_a_normal_one() -> None:
    codes: list[int | None] = []

    def script(relay: FakeRelay) -> None:
        relay.greet()
        codes.append(relay.wait_closed())

    with fake_relay(script) as url:
        with pytest.raises(LookupError, match="of the block"):
            async with connect(url, TOKEN):
                raise LookupError("of the block")

    assert codes == [1000]


async def test_a_cancelled_block_closes_the_connection_and_ends() -> None:
    codes: list[int | None] = []

    def script(relay: FakeRelay) -> None:
        relay.greet()
        codes.append(relay.wait_closed())

    with fake_relay(script) as url:
        with anyio.move_on_after(0.2) as cut:
            async with connect(url, TOKEN):
                await anyio.sleep_forever()

    assert cut.cancelled_caught
    assert codes == [1000]


async def test_nothing_of_token_or_ciphertext_is_logged_or_said_in_errors(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    canary = b"canary-ciphertext"

    def script(relay: FakeRelay) -> None:
        relay.greet()
        send = relay.hear("ksmpv3.send")
        assert send["envelope"]["ciphertext"] == canary
        relay.frame(1, canary)
        relay.refuse(send, "rejected")
        relay.connection.close(4401)

    said = []
    with fake_relay(script) as url:
        async with connect(url, TOKEN) as connection:
            for _ in range(2):
                with pytest.raises(Exception, match=r"rejected|4401") as raised:
                    await send(connection, canary)
                said.append(str(raised.value))

    ours = [
        record.getMessage()
        for record in caplog.records
        # The fake relay's own server logs what it sees; the client's side must not.
        if not record.name.startswith("websockets.server")
    ]
    assert "canary" not in "".join(ours + said)
