"""However commits, pages and a slow transport interleave, the stream is that of a dumb model."""

from __future__ import annotations

import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.delivery import Need
from ksmp.codec import MSGPACK
from ksmp.types import GlobalInboxSeq
from tests.actors.inbox_stage import InboxStage
from tests.actors.world import ALICE, BOB

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("store"), st.integers(1, 4)),
        st.tuples(st.just("publish"), st.integers(1, 6)),
        st.tuples(st.just("mark"), st.integers(1, 6)),
        st.tuples(st.just("advance"), st.integers(0, 3)),
        st.tuples(st.just("take"), st.integers(0, 5)),
    ),
    max_size=40,
)


@settings(max_examples=200, deadline=None)
@given(
    before=st.integers(0, 12),
    after=st.integers(0, 12),
    steps=STEPS,
    outbound_bytes=st.sampled_from([1, 1_500, 1 << 20]),
    recent_bytes=st.sampled_from([0, 4_000, 1 << 20]),
    offers=st.booleans(),
    stride=st.integers(1, 3),
)
def test_however_commits_and_reads_interleave_the_stream_is_the_models(
    before: int,
    after: int,
    steps: list[tuple[str, int]],
    outbound_bytes: int,
    recent_bytes: int,
    offers: bool,
    stride: int,
) -> None:
    async def main() -> None:
        stage = InboxStage(
            outbound_bytes=outbound_bytes, recent_bytes=recent_bytes, stride=stride, offers=offers
        )
        stage.store(before)
        stage.publish()
        cursor = GlobalInboxSeq(min(after, before) * stride)
        target = stage.inbox.head
        stage.delivery.resume(cursor)
        stage.transport.stall()
        for step in steps:
            await take_step(stage, step)
            assert max(stage.frames, default=0) <= stage.inbox.head
        stage.publish()
        stage.transport.go_on()
        await stage.deliver()
        assert_is_the_models(stage, cursor, target)

    trio.run(main)


async def take_step(stage: InboxStage, step: tuple[str, int]) -> None:
    match step:
        case "store", amount:
            stage.store(amount, conversation="ab"[amount % 2])
        case "publish", amount:
            stage.publish(amount)
        case "mark", wanted:
            for key, records in list(stage.log.records.items())[:1]:
                reader, name = (ALICE, BOB)[wanted % 2], key.conversation_id
                stage.mark_read(min(wanted, len(records)), reader=reader, conversation=name)
        case "advance", meanwhile:
            need = stage.delivery.advance()
            if need in (Need.PAGE, Need.READS):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(stage.delivery.fetch, need)
                    nursery.start_soon(commit_meanwhile, stage, meanwhile)
        case "take", messages:
            stage.transport.take(messages)


async def commit_meanwhile(stage: InboxStage, amount: int) -> None:
    for _ in range(amount):
        stage.store()
        stage.publish(1)
        await trio.lowlevel.checkpoint()


def assert_is_the_models(stage: InboxStage, cursor: int, target: int) -> None:
    """The stream is the rows after the cursor, byte for byte, completed once and in place."""
    rows = [row for row in stage.log.rows(ALICE) if row.global_inbox_seq > cursor]
    complete = f"complete {target}"
    heard = stage.heard
    place = heard.index(complete)
    frames = [
        message
        for message, word in zip(stage.transport.sent, heard, strict=True)
        if isinstance(word, int)
    ]

    assert frames == [MSGPACK.encode_inbox_frame(*row) for row in rows]
    assert heard.count(complete) == 1
    assert all(word <= target for word in heard[:place] if isinstance(word, int))
    assert all(word > target for word in heard[place:] if isinstance(word, int))
    for (key, reader), mark in stage.log.marks.items():
        position = mark.own if reader == ALICE else mark.public
        last = [word for word in heard if str(word).startswith(f"{reader} read {key[0]} ")][-1:]
        assert last == [f"{reader} read {key[0]} {position.server_seq}"]
