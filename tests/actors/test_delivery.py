"""From any cursor: exactly the records after it, in order, once, and never beyond the head."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from actors.delivery import PAGE_BYTES, READ_STATES_PER_PAGE, Need
from ksmp.codec import JSON, MSGPACK, Codec
from ksmp.types import GlobalInboxSeq
from tests.actors.inbox_stage import InboxStage
from tests.actors.world import ALICE

EVERYTHING = 1 << 20


def seq(number: int) -> GlobalInboxSeq:
    return GlobalInboxSeq(number)


# ── replay and live are one path ─────────────────────────────────────────────────────────────


@pytest.mark.parametrize("recent_bytes", [0, 3_000, EVERYTHING])
@pytest.mark.parametrize("stride", [1, 7])
async def test_from_every_cursor_exactly_the_records_after_it_are_sent(
    recent_bytes: int, stride: int
) -> None:
    for after in range(9):
        stage = InboxStage(recent_bytes=recent_bytes, stride=stride)
        stage.store(8)
        stage.publish()
        stage.delivery.resume(seq(after * stride))
        await stage.deliver()
        stage.store(2)
        stage.publish()
        await stage.deliver()

        replayed = [n * stride for n in range(after + 1, 9)]
        live = [9 * stride, 10 * stride]
        assert stage.heard == [*replayed, f"complete {8 * stride}", *live]


@pytest.mark.parametrize("codec", [JSON, MSGPACK], ids=["json", "msgpack"])
async def test_a_replayed_frame_is_the_same_bytes_as_the_live_one(codec: Codec) -> None:
    live = InboxStage(recent_bytes=EVERYTHING, codec=codec)
    live.delivery.resume(seq(0))
    await live.deliver()
    replay = InboxStage(recent_bytes=0, codec=codec)
    for stage in (live, replay):
        stage.store(5)
        stage.publish()
    await live.deliver()
    replay.delivery.resume(seq(0))
    await replay.deliver()

    rows = [codec.encode_inbox_frame(*row) for row in live.log.rows(ALICE)]
    assert live.log.pages_read == 0
    assert replay.log.pages_read > 0
    assert live.transport.sent[1:] == replay.transport.sent[:-1] == rows


async def test_nothing_is_sent_before_a_resume() -> None:
    stage = InboxStage(recent_bytes=EVERYTHING)
    stage.store(3)
    stage.publish()

    assert await stage.deliver() is Need.NOTHING
    assert stage.heard == []


async def test_from_now_on_begins_at_the_head_and_is_complete_at_once() -> None:
    stage = InboxStage()
    stage.store(3)
    stage.publish()
    stage.mark_read(2)
    stage.delivery.resume_from_now_on()
    await stage.deliver()
    stage.store(2)
    stage.publish()
    await stage.deliver()

    assert stage.heard == ["complete 3", 4, 5]


async def test_nothing_is_sent_beyond_the_published_head_though_the_log_shows_more() -> None:
    stage = InboxStage()
    stage.store(10)
    stage.publish(4)
    stage.delivery.resume(seq(0))
    await stage.deliver()
    published_four = list(stage.heard)
    stage.publish(3)
    await stage.deliver()

    assert published_four == [1, 2, 3, 4, "complete 4"]
    assert stage.frames == [1, 2, 3, 4, 5, 6, 7]


async def test_what_is_committed_during_a_replay_comes_after_its_completion() -> None:
    stage = InboxStage(recent_bytes=EVERYTHING)
    stage.store(6)
    stage.publish()
    stage.delivery.resume(seq(2))
    stage.store(3)
    stage.publish()
    await stage.deliver()

    assert stage.heard == [3, 4, 5, 6, "complete 6", 7, 8, 9]


async def test_the_log_is_not_read_for_what_is_recent(autojump_clock: MockClock) -> None:
    stage = InboxStage(recent_bytes=EVERYTHING)
    stage.delivery.resume(seq(0))
    await stage.deliver()
    for _ in range(20):
        stage.store()
        stage.publish()
        assert await stage.deliver() is Need.NOTHING

    assert stage.frames == list(range(1, 21))
    assert stage.log.pages_read == 0


# ── a slow reader ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("recent_bytes", [0, 40_000, 1 << 30])
@pytest.mark.parametrize("outbound_bytes", [1, 2_000, 3 * PAGE_BYTES])
async def test_a_stalled_transport_has_a_bounded_queue_and_gets_the_rest_later(
    recent_bytes: int, outbound_bytes: int
) -> None:
    stage = InboxStage(outbound_bytes=outbound_bytes, recent_bytes=recent_bytes)
    stage.store(700, text=b"x" * 1_000)
    stage.publish()
    largest = max(len(MSGPACK.encode_inbox_frame(*row)) for row in stage.log.rows(ALICE))
    stage.delivery.resume(seq(0))
    for _ in range(200):
        stage.transport.stall()
        assert await stage.deliver() is Need.ROOM
        stage.transport.take(2)
    stalled = len(stage.frames)
    stage.transport.go_on()
    await stage.deliver()

    assert stalled < 700
    assert stage.heard == [*range(1, 701), "complete 700"]
    assert stage.transport.most_queued_bytes <= outbound_bytes * 1.1 + largest


async def test_a_page_is_no_larger_than_its_limit() -> None:
    stage = InboxStage(outbound_bytes=1 << 30)
    stage.store(300, text=b"x" * 1_000)
    stage.publish()
    stage.delivery.resume(seq(0))
    need = stage.delivery.advance()
    await stage.delivery.fetch(need)

    assert PAGE_BYTES <= stage.transport.queued_bytes <= 1.2 * PAGE_BYTES


# ── retention ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("cursor", [0, 3, 4])
async def test_a_cursor_below_what_retention_removed_is_told_first(cursor: int) -> None:
    stage = InboxStage()
    stage.store(8)
    stage.publish()
    stage.log.truncated[ALICE] = 5
    stage.delivery.resume(seq(cursor))
    await stage.deliver()

    assert stage.heard == ["replay_truncated 5", 6, 7, 8, "complete 8"]


async def test_a_cursor_at_what_retention_removed_has_lost_nothing() -> None:
    stage = InboxStage()
    stage.store(8)
    stage.publish()
    stage.log.truncated[ALICE] = 5
    stage.delivery.resume(seq(5))
    await stage.deliver()

    assert stage.heard == [6, 7, 8, "complete 8"]


async def test_an_inbox_that_retention_has_emptied_is_told_and_complete() -> None:
    stage = InboxStage()
    stage.store(8)
    stage.publish()
    stage.log.truncated[ALICE] = 8
    stage.delivery.resume(seq(2))
    await stage.deliver()

    assert stage.heard == ["replay_truncated 8", "complete 8"]


async def test_a_running_replay_that_retention_overtakes_is_told_where_it_happens() -> None:
    stage = InboxStage(outbound_bytes=1)
    stage.store(8)
    stage.publish()
    stage.delivery.resume(seq(0))
    stage.transport.stall()
    await stage.deliver()
    stage.log.truncated[ALICE] = 6
    stage.transport.go_on()
    await stage.deliver()

    assert stage.heard == [1, "replay_truncated 6", 7, 8, "complete 8"]


# ── read positions ───────────────────────────────────────────────────────────────────────────


async def test_read_positions_since_the_cursor_come_between_replay_and_completion() -> None:
    stage = InboxStage()
    stage.store(2, conversation="old")
    stage.mark_read(1, conversation="old")  # stored at 2
    stage.store(2, conversation="a")
    stage.mark_read(2, conversation="a")  # stored at 4
    stage.mark_read(1, reader=ALICE, conversation="a")
    stage.store(1, conversation="a")
    stage.publish()
    stage.delivery.resume(seq(3))
    await stage.deliver()

    assert stage.heard[:2] == [4, 5]
    assert sorted(map(str, stage.heard[2:4])) == ["alice read a 1", "bob read a 2"]
    assert stage.heard[4:] == ["complete 5"]


async def test_a_position_stored_at_the_cursor_itself_is_sent_again() -> None:
    stage = InboxStage()
    stage.store(3)
    stage.mark_read(2)
    stage.delivery.resume(seq(3))
    await stage.deliver()

    assert stage.heard == ["bob read a 2", "complete 3"]


async def test_what_the_peer_reads_privately_is_not_told() -> None:
    stage = InboxStage()
    stage.store(3)
    stage.mark_read(3, private=True)
    stage.delivery.resume(seq(0))
    await stage.deliver()
    stage.mark_read(2)
    await stage.deliver()

    assert stage.heard == [1, 2, 3, "complete 3", "bob read a 2"]


async def test_more_read_positions_than_a_page_holds_all_come_before_completion() -> None:
    stage = InboxStage()
    names = [f"talk-{n}" for n in range(READ_STATES_PER_PAGE * 2 + 3)]
    for name in names:
        stage.store(conversation=name)
        stage.mark_read(1, conversation=name)
    stage.delivery.resume(stage.inbox.head)  # only the last was stored there
    await stage.deliver()
    assert stage.heard == [f"bob read {names[-1]} 1", f"complete {len(names)}"]

    again = InboxStage()
    again.log = stage.log
    again.inbox.head = stage.inbox.head
    again.delivery._log = stage.log
    again.delivery.resume(seq(0))
    await again.deliver()
    assert again.heard[: len(names)] == list(range(1, len(names) + 1))
    assert set(again.heard[len(names) : -1]) == {f"bob read {name} 1" for name in names}
    assert again.heard[-1] == f"complete {len(names)}"


async def test_a_position_without_room_does_not_displace_those_that_a_replay_owes() -> None:
    stage = InboxStage(outbound_bytes=1)
    stage.store(2, conversation="old")
    stage.mark_read(1, conversation="old")
    stage.store(2, conversation="new")
    stage.publish()
    stage.delivery.resume(seq(0))
    stage.transport.stall()
    await stage.deliver()
    stage.mark_read(2, conversation="new")
    stage.transport.go_on()
    await stage.deliver()

    assert stage.heard == [1, 2, 3, 4, "bob read old 1", "bob read new 2", "complete 4"]


@pytest.mark.parametrize("is_replaying", [False, True])
async def test_a_position_for_which_there_is_no_room_comes_when_there_is(
    is_replaying: bool,
) -> None:
    stage = InboxStage(outbound_bytes=1)
    stage.store(3)
    stage.publish()
    stage.delivery.resume(seq(0))
    if not is_replaying:
        await stage.deliver()
        stage.store(3)
        stage.publish()
    stage.transport.stall()
    await stage.deliver()
    stage.mark_read(2)
    stage.mark_read(1, reader=ALICE)
    told_while_stalled = [word for word in stage.heard if "read" in str(word)]
    stage.transport.go_on()
    await stage.deliver()

    reads = [word for word in stage.heard if "read" in str(word)]
    assert told_while_stalled == []
    assert sorted(map(str, reads)) == ["alice read a 1", "bob read a 2"]
    assert stage.heard.count("complete 3") == 1
    if is_replaying:
        assert stage.heard[-1] == "complete 3"


async def test_a_position_told_while_positions_are_being_read_is_not_lost() -> None:
    """The scan may have passed its place already, so it begins again."""
    for steps in range(6):
        stage = InboxStage(outbound_bytes=1)
        names = [f"talk-{n}" for n in range(READ_STATES_PER_PAGE + 9)]
        for name in names:
            stage.store(2, conversation=name)
            stage.mark_read(1, conversation=name)
        stage.delivery.resume(seq(0))
        stage.delivery._cursor = stage.inbox.head  # the replay has come to the positions
        stage.transport.stall()
        stage.transport.send(b"\x80")  # no room from the beginning
        async with trio.open_nursery() as nursery:
            stage.transport.queued.clear()
            need = stage.delivery.advance()
            assert need is Need.READS
            nursery.start_soon(stage.delivery.fetch, need)
            for _ in range(steps):
                await trio.lowlevel.checkpoint()
            stage.transport.queued.append(b"\x80")
            stage.mark_read(2, conversation=names[0])
            stage.transport.queued.remove(b"\x80")
        stage.transport.go_on()
        await stage.deliver()

        words = [str(word) for word in stage.heard]
        told = {f"bob read {names[0]} 2", *(f"bob read {name} 1" for name in names[1:])}
        assert told <= set(words), f"told after {steps} steps"
        assert words[-1] == f"complete {2 * len(names)}"
