"""The order checker is itself checked: each planted violation is counted under its own name."""

from __future__ import annotations

import msgspec
import pytest

from bench.order import MAX_REMEMBERED_MISSING, InboxChecker, OrderCounts
from ksmp.chain import chain_after, chain_base
from ksmp.events import InboxFrame, RecordedEnvelope, SendAck
from ksmp.types import (
    ConversationId,
    GlobalInboxSeq,
    IdempotencyKey,
    MessageId,
    ServerSeq,
    TimeMs,
    UserId,
    conversation_key,
)

TALK = ConversationId("talk")
ALICE, BOB = UserId("alice"), UserId("bob")
KEY = conversation_key(TALK, ALICE, BOB)
BASE = 40
"""Where the inbox stood when the checker joined."""


def good_stream(count: int, conversation: ConversationId = TALK) -> list[InboxFrame]:
    chain = chain_base(conversation, ALICE, BOB)
    frames = []
    for number in range(1, count + 1):
        sender, recipient = (ALICE, BOB) if number % 2 else (BOB, ALICE)
        envelope = RecordedEnvelope(
            "ksmpv3",
            conversation,
            MessageId(f"m{number}"),
            sender,
            recipient,
            b"sealed",
            "text",
            TimeMs(5),
            ServerSeq(number),
            TimeMs(1_000),
            IdempotencyKey(f"k{number}"),
        )
        chain = chain_after(chain, envelope)
        seq = BASE + number
        frames.append(InboxFrame(GlobalInboxSeq(seq), GlobalInboxSeq(seq - 1), envelope, chain))
    return frames


def ack_of(frame: InboxFrame) -> SendAck:
    record = frame.envelope
    return SendAck(
        record.conversation_id,
        record.recipient_user_id,
        record.message_id,
        record.idempotency_key,
        record.server_seq,
        record.server_received_at_ms,
        frame.chain,
    )


def checked(frames: list[InboxFrame], acked: int = 0) -> OrderCounts:
    checker = new_checker()
    for frame in frames:
        checker.frame(frame)
    checker.finish({KEY: ServerSeq(acked)})
    return checker.counts


def new_checker() -> InboxChecker:
    checker = InboxChecker(ALICE, GlobalInboxSeq(BASE))
    checker.expect_new(TALK, BOB)
    return checker


def test_a_good_stream_has_no_violation() -> None:
    counts = checked(good_stream(10), acked=10)

    assert counts == OrderCounts(checked=10)
    assert counts.violations == 0


def test_a_record_left_out_is_a_gap() -> None:
    frames = good_stream(10)

    assert checked(frames[:4] + frames[5:], acked=10) == OrderCounts(checked=9, gaps=1)


def test_acked_records_that_never_came_at_the_end_are_gaps() -> None:
    assert checked(good_stream(7), acked=10) == OrderCounts(checked=7, gaps=3)


def test_a_first_record_left_out_is_a_gap() -> None:
    assert checked(good_stream(5)[1:], acked=5) == OrderCounts(checked=4, gaps=1)


def test_a_record_sent_twice_is_a_duplicate() -> None:
    frames = good_stream(10)

    assert checked(frames[:5] + frames[4:], acked=10) == OrderCounts(checked=11, duplicates=1)


def test_two_records_changed_over_are_reordered_and_neither_gap_nor_duplicate() -> None:
    frames = good_stream(10)
    frames[4], frames[5] = frames[5], frames[4]

    assert checked(frames, acked=10) == OrderCounts(checked=10, reordered=1)


def test_a_record_whose_content_was_changed_is_a_chain_break() -> None:
    frames = good_stream(10)
    changed = msgspec.structs.replace(frames[4].envelope, ciphertext=b"forged")
    frames[4] = msgspec.structs.replace(frames[4], envelope=changed)

    assert checked(frames, acked=10) == OrderCounts(checked=10, chain_breaks=1)


def test_a_wrong_hash_is_a_chain_break_at_it_and_at_what_stands_on_it() -> None:
    frames = good_stream(10)
    frames[4] = msgspec.structs.replace(frames[4], chain=bytes(32))

    assert checked(frames, acked=10) == OrderCounts(checked=10, chain_breaks=2)


def test_a_chain_on_another_base_is_a_chain_break() -> None:
    frames = [
        msgspec.structs.replace(
            frame, envelope=msgspec.structs.replace(frame.envelope, conversation_id=TALK)
        )
        for frame in good_stream(3, ConversationId("other"))
    ]

    assert checked(frames, acked=3) == OrderCounts(checked=3, chain_breaks=1)


@pytest.mark.parametrize(
    "previous,expected",
    [(BASE + 3, OrderCounts(10, chain_breaks=1)), (BASE + 5, OrderCounts(10, gaps=1))],
)
def test_an_inbox_link_to_another_record_is_a_violation(
    previous: int, expected: OrderCounts
) -> None:
    frames = good_stream(10)
    frames[4] = msgspec.structs.replace(
        frames[4], previous_global_inbox_seq=GlobalInboxSeq(previous)
    )
    if previous == BASE + 5:  # the inbox skips a number, the conversation does not
        frames[4:] = [
            msgspec.structs.replace(
                frame,
                global_inbox_seq=frame.global_inbox_seq + 1,
                previous_global_inbox_seq=frame.global_inbox_seq,
            )
            for frame in frames[4:]
        ]

    assert checked(frames, acked=10) == expected


def test_an_inbox_that_goes_back_is_reordered_though_each_conversation_is_in_order() -> None:
    one, other = good_stream(2), good_stream(2, ConversationId("other"))
    late = msgspec.structs.replace(
        other[0],
        global_inbox_seq=GlobalInboxSeq(BASE + 1),
        previous_global_inbox_seq=GlobalInboxSeq(BASE),
    )

    assert checked([*one, late], acked=2) == OrderCounts(checked=3, reordered=1)


@pytest.mark.parametrize("ack_comes_first", [True, False])
@pytest.mark.parametrize(
    "change,expected", [({}, 0), ({"server_seq": 2}, 1), ({"chain": bytes(32)}, 1)]
)
def test_an_ack_that_claims_what_its_record_is_not_is_a_chain_break(
    change: dict[str, object], expected: int, ack_comes_first: bool
) -> None:
    checker = new_checker()
    (frame,) = good_stream(1)
    ack = msgspec.structs.replace(ack_of(frame), **change)

    if ack_comes_first:
        checker.ack(ack)
    checker.frame(frame)
    if not ack_comes_first:
        checker.ack(ack)

    assert checker.counts == OrderCounts(checked=1, chain_breaks=expected)


def test_an_unannounced_conversation_is_followed_from_its_first_record_seen() -> None:
    checker = InboxChecker(ALICE, GlobalInboxSeq(BASE + 4))
    frames = good_stream(10)[4:]
    forged = msgspec.structs.replace(frames[3], chain=bytes(32))

    for frame in [*frames[:3], forged]:
        checker.frame(frame)

    assert checker.counts == OrderCounts(checked=4, chain_breaks=1)


def test_a_gap_too_wide_to_remember_is_counted_whole() -> None:
    first, *_, last = good_stream(3)
    far = MAX_REMEMBERED_MISSING + 500
    last = msgspec.structs.replace(
        last, envelope=msgspec.structs.replace(last.envelope, server_seq=ServerSeq(far))
    )

    assert checked([first, last], acked=far).gaps == far - 2
