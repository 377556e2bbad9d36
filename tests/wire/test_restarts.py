"""What an ack promised is there after every end of the process (section 5)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack

import pytest
import trio
import trio_websocket

from tests.wire.chain import assert_chained, chain_base
from tests.wire.clients import Peer
from tests.wire.codecs import Codec, Event
from tests.wire.connecting import StartRelay
from tests.wire.messages import envelope, send
from tests.wire.relay_process import RelayProcess

pytestmark = pytest.mark.trio

End = Callable[[RelayProcess], None]
TALK = "talk"


@pytest.fixture(params=[RelayProcess.restart, RelayProcess.crash], ids=["restart", "kill -9"])
def end(request: pytest.FixtureRequest) -> End:
    """Each way in which a process may end and begin again."""
    chosen: End = request.param
    return chosen


@pytest.mark.promises("I1", "I5", "I9", "I10", "I11", "I12", "I18")
async def test_everything_goes_on_where_it_was(start: StartRelay, end: End, codec: Codec) -> None:
    own = start()
    sent = [envelope("alice", "bob", conversationId=TALK) for _ in range(10)]
    async with own.connect("alice", codec) as peer:
        epoch = peer.connected["epoch"]
        acks = [await peer.answer_to(each) for each in sent]
        before = await peer.resume(0)

    await trio.to_thread.run_sync(end, own.relay)

    async with own.connect("alice", codec) as peer:
        head = before[-1].event["globalInboxSeq"]
        assert peer.connected["epoch"] == epoch
        assert peer.connected["headGlobalInboxSeq"] == head
        for each, ack in zip(sent, acks, strict=True):
            assert (await peer.answer_to(each)).raw == ack.raw
        conflict = (await peer.answer_to(sent[0] | {"ciphertext": b"other"})).event
        assert conflict["code"] == "idempotency_conflict"
        assert [frame.raw for frame in await peer.resume(0)] == [frame.raw for frame in before]
        follower = await peer.send(envelope("alice", "bob", conversationId=TALK))
        assert follower["serverSeq"] == 11
        (frame,) = await peer.frames(1)
        assert frame.event["previousGlobalInboxSeq"] == head
        assert_chained(acks[-1].event["chain"], [frame.event])


@pytest.mark.promises("I1", "I4", "I11", "I12")
async def test_what_was_acked_before_a_kill_in_mid_traffic_is_there_once(start: StartRelay) -> None:
    own = start()
    sent: list[Event] = []
    acks: dict[str, Event] = {}
    for _ in range(3):
        async with own.connect("alice") as peer, trio.open_nursery() as nursery:
            some_acked = trio.Event()
            nursery.start_soon(_send_until_gone, peer, sent, acks, some_acked)
            with trio.fail_after(10):
                await some_acked.wait()
            await trio.to_thread.run_sync(own.relay.crash)
    async with own.connect("alice") as peer:
        for each in sent:
            ack = await peer.send(each)
            assert acks.setdefault(each["idempotencyKey"], ack) == ack
        frames = [frame.event for frame in await peer.resume(0)][:-1]

    assert [f["envelope"]["serverSeq"] for f in frames] == list(range(1, len(sent) + 1))
    assert_chained(chain_base(TALK, "alice", "bob"), frames)
    for frame in frames:
        ack = acks[frame["envelope"]["idempotencyKey"]]
        assert ack["serverSeq"] == frame["envelope"]["serverSeq"]
        assert ack["chain"] == frame["chain"]


async def _send_until_gone(
    peer: Peer, sent: list[Event], acks: dict[str, Event], some_acked: trio.Event
) -> None:
    """Keep two sends under way until the connection breaks."""
    enough = len(acks) + 40
    try:
        while True:
            if len(acks) >= enough:
                some_acked.set()
            both = [envelope("alice", "bob", conversationId=TALK) for _ in range(2)]
            sent.extend(both)
            await peer.tell(*map(send, both))
            for each in both:
                acks[each["idempotencyKey"]] = (await peer.answer_about(each)).event
    except trio_websocket.ConnectionClosed:
        pass


@pytest.mark.promises("I18", final_read=False)  # nobody has sent anything
async def test_drain_tells_every_client_when_to_come_again(start: StartRelay) -> None:
    own = start()
    users = [f"user-{number}" for number in range(8)]
    hints: list[int] = []

    async def expect_drain(peer: Peer) -> None:
        assert await peer.close_code() == 1001
        (notice,) = peer.kept()
        fields = ["type", "code", "message", "retryable", "retryAfterMs", "action"]
        assert list(notice) == fields
        assert (notice["code"], notice["action"]) == ("draining", "reconnect")
        assert notice["retryable"] is True
        hints.append(notice["retryAfterMs"])

    async with AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(own.connect(user)) for user in users]
        own.relay.signal_terminate()
        async with trio.open_nursery() as nursery:
            for peer in peers:
                nursery.start_soon(expect_drain, peer)
    assert await trio.to_thread.run_sync(own.relay.wait) == 0
    assert min(hints) > 0
    assert len(set(hints)) > 1, "the hint is jittered"


@pytest.mark.promises("I1", "I2", "I8", "I11", "I12", "I18")
async def test_what_was_accepted_before_a_drain_is_committed_and_answered(
    start: StartRelay,
) -> None:
    own = start()
    sent = [envelope("alice", "bob", conversationId=TALK) for _ in range(200)]
    async with own.connect("alice") as peer:
        await peer.send(sent[0])
        await peer.tell(*map(send, sent[1:100]))
        # The relay has read what precedes a pong.
        accepted = await peer.before_pong()
        await peer.tell(*map(send, sent[100:]))
        own.relay.signal_terminate()
        assert await peer.close_code() == 1001
        answers = accepted + peer.kept()
    assert await trio.to_thread.run_sync(own.relay.wait) == 0
    own.relay.start()
    async with own.connect("alice") as peer:
        stored = {
            frame.event["envelope"]["idempotencyKey"] for frame in (await peer.resume(0))[:-1]
        }

    acked = {a["idempotencyKey"] for a in answers if a["type"] == "ksmpv3.send.ack"}
    refused = {a["about"]["idempotencyKey"] for a in answers if "about" in a}
    assert {each["idempotencyKey"] for each in sent[1:100]} <= acked
    assert acked | {sent[0]["idempotencyKey"]} == stored
    assert not refused & stored


async def test_clients_that_do_not_answer_the_close_do_not_hold_up_a_drain(
    start: StartRelay,
) -> None:
    own = start(server__drain_seconds=1)
    with own.connect_raw("alice"), own.connect_raw("bob"):
        own.relay.signal_terminate()
        assert await trio.to_thread.run_sync(own.relay.wait) == 0


async def test_second_sigterm_ends_the_process_at_once(start: StartRelay) -> None:
    own = start(server__drain_seconds=60)
    with own.connect_raw("alice") as stuck:
        own.relay.signal_terminate()
        # The drain has begun, and waits for a client that does not answer its close.
        assert (await trio.to_thread.run_sync(stuck.event))["code"] == "draining"
        own.relay.signal_terminate()
        begun = trio.current_time()
        await trio.to_thread.run_sync(own.relay.wait)
        assert trio.current_time() - begun < 30, "it has waited for the drain"


@pytest.mark.promises("I1", "I12")
async def test_second_process_on_one_store_is_refused(start: StartRelay) -> None:
    own = start()
    rival = RelayProcess(own.relay.directory / "rival", {})
    rival.directory.mkdir()
    rival.data_directory = own.relay.data_directory
    with pytest.raises(AssertionError, match=r"exited with (73|74)"):
        await trio.to_thread.run_sync(rival.start)
    assert b"Traceback" not in rival.output()
    async with own.connect("alice") as peer:
        await peer.send(envelope("alice", "bob"))
