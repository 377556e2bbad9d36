"""What a load has seen is written down whole, however little of it is hashed twice."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from bench.history import Recorder
from bench.seen import KNOWN, Frames, frame_of
from ksmp.events import InboxFrame, RecordedEnvelope
from ksmp.types import (
    ConversationId,
    GlobalInboxSeq,
    IdempotencyKey,
    MessageId,
    ServerSeq,
    TimeMs,
    UserId,
)

ENVELOPE = RecordedEnvelope(
    "ksmpv3",
    ConversationId("talk"),
    MessageId("one"),
    UserId("alice"),
    UserId("bob"),
    b"ciphertext",
    "text",
    TimeMs(1),
    ServerSeq(2),
    TimeMs(3),
    IdempotencyKey("one"),
)


def frame(number: int, envelope: RecordedEnvelope = ENVELOPE) -> InboxFrame:
    return InboxFrame(GlobalInboxSeq(number), GlobalInboxSeq(number - 1), envelope, bytes(32))


@pytest.mark.parametrize(
    "other",
    [
        {},
        {"ciphertext": b"another"},
        {"conversation_id": ConversationId("elsewhere")},
        {"client_created_at_ms": TimeMs(9)},
        {"idempotency_key": IdempotencyKey("two")},
        {"server_seq": ServerSeq(9)},
        {"server_received_at_ms": TimeMs(9)},
    ],
)
def test_the_second_frame_of_a_message_is_told_as_it_came_even_where_it_differs(
    other: dict[str, object], tmp_path: Path
) -> None:
    second = frame(8, msgspec.structs.replace(ENVELOPE, **other))
    with Recorder(tmp_path / "history", relay="test") as recorder:
        frames = Frames(recorder)

        told = [frames.frame(frame(7), b"raw"), frames.frame(second, b"other raw")]

        assert told == [
            frame_of(recorder, frame(7), b"raw"),
            frame_of(recorder, second, b"other raw"),
        ]


def test_no_more_messages_are_remembered_than_will_come_again_soon(tmp_path: Path) -> None:
    with Recorder(tmp_path / "history", relay="test") as recorder:
        frames = Frames(recorder)
        for number in range(1, KNOWN + 100):
            envelope = msgspec.structs.replace(ENVELOPE, message_id=MessageId(str(number)))
            frames.frame(frame(number, envelope), b"raw")

    assert len(frames.known) <= KNOWN


@pytest.mark.parametrize("records", [0, 14, 20, 2_500, 70_000])
def test_a_history_is_one_value_after_another_however_many_are_written_at_once(
    records: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.history.BATCH", 100_000)
    binary, lines = tmp_path / "history", tmp_path / "history.jsonl"
    for path in (binary, lines):
        with Recorder(path, relay="test", now_ns=lambda: 0, wall_ns=lambda: 0) as recorder:
            for number in range(records):
                recorder.head(0, number)

    written = [msgspec.json.decode(line) for line in lines.read_bytes().splitlines()]
    assert len(written) == records + 2
    assert binary.read_bytes() == b"".join(map(msgspec.msgpack.encode, written))
