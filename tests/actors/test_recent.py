"""What is kept of the latest records equals what the log has, and stays within its bytes."""

from __future__ import annotations

from actors.recent import ENTRY_OVERHEAD_BYTES, RecentRecords
from ksmp.codec import JSON, MSGPACK, encode_recorded
from ksmp.types import GlobalInboxSeq, IdempotencyKey, ServerSeq, TimeMs
from storage.log import InboxPlace, NewRecord
from tests.actors.world import ALICE, BOB, envelope


def record(number: int, text: bytes = b"sealed") -> NewRecord:
    sealed = envelope(f"key-{number}", text=text)
    seq, time = ServerSeq(number), TimeMs(number)
    key = IdempotencyKey(f"key-{number}")
    recorded = encode_recorded(sealed, seq, time)
    return NewRecord(seq, time, ALICE, key, b"d" * 32, b"c" * 32, recorded)


def place(number: int, before: int) -> InboxPlace:
    return InboxPlace(GlobalInboxSeq(number), GlobalInboxSeq(before))


def test_a_record_is_found_by_the_cursor_that_it_follows_in_its_users_inbox() -> None:
    recent = RecentRecords(1 << 20)
    recent.add(ALICE, place(7, 4), record(1))
    recent.add(BOB, place(7, 6), record(1))
    recent.add(ALICE, place(9, 7), record(2))

    numbers = {
        (user, cursor): found.global_inbox_seq
        for user in (ALICE, BOB)
        for cursor in range(10)
        if (found := recent.after(user, GlobalInboxSeq(cursor))) is not None
    }
    assert numbers == {(ALICE, 4): 7, (ALICE, 7): 9, (BOB, 6): 7}


def test_a_frame_is_the_same_bytes_as_one_read_from_the_log() -> None:
    recent, kept = RecentRecords(1 << 20), record(1)
    recent.add(ALICE, place(7, 4), kept)
    found = recent.after(ALICE, GlobalInboxSeq(4))
    assert found is not None

    for codec in (JSON, MSGPACK):
        from_the_log = codec.encode_inbox_frame(*place(7, 4), kept.recorded, kept.chain)
        assert [found.frame(codec), found.frame(codec)] == [from_the_log, from_the_log]


def test_a_frame_is_encoded_once_for_all_devices_of_a_subprotocol() -> None:
    recent = RecentRecords(1 << 20)
    recent.add(ALICE, place(1, 0), record(1))
    found = recent.after(ALICE, GlobalInboxSeq(0))
    assert found is not None

    assert found.frame(JSON) is found.frame(JSON)


def test_the_oldest_go_first_and_the_bytes_stay_within_the_limit() -> None:
    size = ENTRY_OVERHEAD_BYTES + 3 * len(record(1).recorded)
    recent = RecentRecords(3 * size)
    for number in range(1, 8):
        recent.add(ALICE, place(number, number - 1), record(number))

    kept = [cursor for cursor in range(8) if recent.after(ALICE, GlobalInboxSeq(cursor))]
    assert kept == [4, 5, 6]


def test_a_record_larger_than_the_limit_is_not_kept_and_does_no_harm() -> None:
    recent = RecentRecords(2_000)
    recent.add(ALICE, place(1, 0), record(1, text=b"x" * 10_000))
    recent.add(ALICE, place(2, 1), record(2))

    assert recent.after(ALICE, GlobalInboxSeq(0)) is None
    assert recent.after(ALICE, GlobalInboxSeq(1)) is not None
