"""Too much at once: refused with a hint that is true, or cut off (sections 4 and 6)."""

from __future__ import annotations

import pytest
import trio

from tests.wire.codecs import JSON, Codec, Event
from tests.wire.connecting import Clients, StartRelay
from tests.wire.messages import about_send, ack_read, envelope, send
from tests.wire.raw import message

pytestmark = pytest.mark.trio

BURST = 5


@pytest.fixture
def slow(start: StartRelay) -> Clients:
    """A relay that lets a user send five at once, and then two a second."""
    return start(limits__sends_per_second=2, limits__sends_burst=BURST)


def assert_rate_limited(error: Event, about: Event) -> None:
    """The refusal says when to come again, and which event it is about."""
    fields = ["type", "code", "message", "retryable", "retryAfterMs", "action", "about"]
    assert list(error) == fields
    assert (error["code"], error["retryable"], error["action"]) == ("rate_limited", True, "retry")
    assert 0 < error["retryAfterMs"] <= 60_000
    assert error["about"] == about


async def test_sends_past_the_burst_are_refused_and_accepted_after_the_hint(
    slow: Clients, codec: Codec
) -> None:
    async with slow.connect("alice", codec) as peer:
        limits = peer.connected["limits"]
        assert (limits["sendsPerSecond"], limits["sendsBurst"]) == (2, BURST)
        sent = [envelope("alice", "bob", conversationId="talk") for _ in range(BURST + 1)]
        await peer.tell(*map(send, sent))
        answers = [(await peer.answer_about(each)).event for each in sent]
        assert [answer["type"] for answer in answers[:-1]] == ["ksmpv3.send.ack"] * BURST
        assert_rate_limited(answers[-1], about_send(sent[-1]))
        await trio.sleep(answers[-1]["retryAfterMs"] / 1000)
        assert (await peer.send(sent[-1]))["serverSeq"] == BURST + 1


async def test_devices_of_a_user_share_one_rate_and_users_do_not(slow: Clients) -> None:
    async with (
        slow.connect("alice") as one,
        slow.connect("alice", device="tablet") as two,
        slow.connect("bob") as other,
    ):
        for _ in range(BURST):
            await one.send(envelope("alice", "bob"))
        late = envelope("alice", "bob")
        assert_rate_limited((await two.answer_to(late)).event, about_send(late))
        await other.send(envelope("bob", "alice"))


async def test_read_acknowledgements_count_as_sends(slow: Clients) -> None:
    async with slow.connect("alice") as peer:
        await peer.send(envelope("alice", "bob", conversationId="talk"))
        for _ in range(BURST - 1):
            await peer.tell(ack_read("talk", "bob", 1))
            assert (await peer.receive())["type"] == "ksmpv3.read"
        await peer.tell(ack_read("talk", "bob", 1))
        about = {"type": "ksmpv3.ack.read", "conversationId": "talk"}
        assert_rate_limited(await peer.error(), about)
        late = envelope("alice", "bob")
        assert_rate_limited((await peer.answer_to(late)).event, about_send(late))


async def test_authorisation_and_limits_are_judged_before_a_known_key(slow: Clients) -> None:
    async with slow.connect("alice") as peer:
        sent = envelope("alice", "bob")
        ack = await peer.send(sent)
        for _ in range(BURST - 1):
            assert await peer.send(sent) == ack
        assert_rate_limited((await peer.answer_to(sent)).event, about_send(sent))


async def test_sending_at_far_more_than_ten_times_the_rate_is_cut_off(slow: Clients) -> None:
    flood = [message(JSON.encode(send(envelope("alice", "bob")))) for _ in range(500)]
    with slow.connect_raw("alice") as socket:
        socket.send(*flood)
        events, code = await trio.to_thread.run_sync(socket.events_until_close)
    assert code == 4429
    # Acks may be lost with the connection; nothing is answered otherwise than in time.
    codes = {event.get("code", event["type"]) for event in events}
    assert "rate_limited" in codes
    assert codes <= {"ksmpv3.send.ack", "rate_limited"}
