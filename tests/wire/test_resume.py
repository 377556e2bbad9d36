"""Replay from any cursor, and the exact refusal of cursors that do not fit (sections 3 and 5)."""

from __future__ import annotations

import pytest
import trio

from tests.wire.clients import Peer
from tests.wire.codecs import Codec, Event
from tests.wire.connecting import Clients, StartRelay
from tests.wire.messages import envelope, fresh, resume, send

pytestmark = pytest.mark.trio

Pair = tuple[str, str]


async def _fill(client: Clients, pair: Pair, count: int) -> list[Event]:
    """Send that many records to the pair's second user; the frames that user gets."""
    alice, bob = pair
    async with client.connect(alice) as sender:
        for _ in range(count):
            await sender.send(envelope(alice, bob, conversationId="talk"))
    async with client.connect(bob) as receiver:
        return [frame.event for frame in (await receiver.resume(0))[:-1]]


async def test_replay_from_every_cursor_is_exactly_what_follows_it(
    client: Clients, codec: Codec, pair: Pair
) -> None:
    frames = await _fill(client, pair, 6)
    assert len(frames) == 6
    for position, cursor in enumerate([0] + [frame["globalInboxSeq"] for frame in frames]):
        async with client.connect(pair[1], codec) as peer:
            received = [frame.event for frame in await peer.resume(cursor)]
            assert received[:-1] == frames[position:]
            complete = received[-1]
            assert list(complete) == ["type", "globalInboxSeq"]
            assert complete["globalInboxSeq"] == peer.connected["headGlobalInboxSeq"]
            assert complete["globalInboxSeq"] == frames[-1]["globalInboxSeq"]
            assert await peer.before_pong() == []


async def test_resume_of_null_starts_at_the_head(client: Clients, codec: Codec, pair: Pair) -> None:
    alice, bob = pair
    frames = await _fill(client, pair, 3)
    async with client.connect(bob, codec) as peer, client.connect(alice) as sender:
        # The epoch is ignored here, even one that is not the relay's.
        (complete,) = await peer.resume(None, epoch="some-other-epoch")
        assert complete.event["globalInboxSeq"] == frames[-1]["globalInboxSeq"]
        await sender.send(envelope(alice, bob))
        follower = await peer.receive()
        assert follower["previousGlobalInboxSeq"] == frames[-1]["globalInboxSeq"]


async def test_empty_inbox_resumes_at_zero(client: Clients, codec: Codec) -> None:
    for cursor in (0, None):
        async with client.connect(fresh("user"), codec) as peer:
            assert [frame.event for frame in await peer.resume(cursor)] == [
                {"type": "ksmpv3.resume.complete", "globalInboxSeq": 0}
            ]


async def test_resume_in_the_relays_epoch_is_good(client: Clients, codec: Codec) -> None:
    async with client.connect(fresh("user"), codec) as peer:
        assert len(await peer.resume(0, epoch=peer.connected["epoch"])) == 1


def _assert_resync(error: Event, code: str, hints: Event) -> None:
    fixed = ["type", "code", "message", "retryable", "action", "about"]
    assert list(error) == fixed + list(hints)
    assert {name: error[name] for name in error if name != "message"} == {
        "type": "ksmpv3.error",
        "code": code,
        "retryable": False,
        "action": "resync",
        "about": {"type": "ksmpv3.resume"},
    } | hints


async def test_new_epoch_command_makes_every_client_start_again(start: StartRelay) -> None:
    own = start()
    async with own.connect("alice") as peer:
        before = peer.connected["epoch"]
        sent = envelope("alice", "alice")
        ack = await peer.send(sent)
        cursor = (await peer.resume(0))[-1].event["globalInboxSeq"]
    assert own.relay.terminate() == 0
    own.relay.new_epoch()
    own.relay.start()
    async with own.connect("alice") as peer:
        after = peer.connected["epoch"]
        assert after != before
        await peer.tell(resume(cursor, epoch=before))
        hints = {"epoch": after, "headGlobalInboxSeq": cursor}
        _assert_resync(await peer.error(), "epoch_changed", hints)
        assert len(await peer.resume(0, epoch=after)) == 2
        assert await peer.send(sent) == ack


async def test_resume_under_live_traffic_is_one_unbroken_stream(
    client: Clients, codec: Codec, pair: Pair
) -> None:
    alice, bob = pair
    total, resumes = 300, 5
    async with client.connect(alice) as sender, trio.open_nursery() as nursery:

        async def send_all() -> None:
            for _ in range(total // 10):
                burst = [envelope(alice, bob, conversationId="talk") for _ in range(10)]
                await sender.tell(*map(send, burst))
                for each in burst:
                    assert (await sender.answer_about(each)).event["type"] == "ksmpv3.send.ack"

        nursery.start_soon(send_all)
        for number in range(resumes):
            async with client.connect(bob, codec, device=f"device-{number}") as peer:
                await _assert_one_stream(peer, total)


async def _assert_one_stream(peer: Peer, total: int) -> None:
    """All records arrive once and in order, `resume.complete` once and in its place."""
    await peer.tell(resume(0))
    cursor, seen = 0, 0
    completed: list[int] = []
    while seen < total or not completed:
        event = await peer.receive()
        if event["type"] == "ksmpv3.resume.complete":
            completed.append(event["globalInboxSeq"])
            assert completed == [cursor]
            assert cursor >= peer.connected["headGlobalInboxSeq"]
        else:
            seen += 1
            assert event["previousGlobalInboxSeq"] == cursor
            assert event["envelope"]["serverSeq"] == seen
            cursor = event["globalInboxSeq"]
    assert await peer.before_pong() == []
