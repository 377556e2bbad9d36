"""The replay benchmark, run as people run it, and what it must find wrong."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from msgspec import structs

from bench.replay import Memory
from bench.replay_plan import ReadPlan, Replayed
from bench.replay_reader import Reader
from bench.wide_store import STORE, fill_store
from ksmp.codec import MSGPACK
from ksmp.events import InboxFrame, RecordedEnvelope, ResumeComplete
from ksmp.types import (
    PROTOCOL,
    ConversationId,
    GlobalInboxSeq,
    IdempotencyKey,
    MessageId,
    ServerSeq,
    TimeMs,
    UserId,
    conversation_key,
)
from storage.verify import verify
from tests.wire.relay_process import PROGRAM, REPOSITORY


def test_every_record_is_replayed_in_its_place_while_others_write() -> None:
    arguments = ("--records", "5000", "--seconds", "1", "--pairs", "2", "--rate", "50", "--json")
    finished = subprocess.run(
        [*PROGRAM, "bench", "replay", *arguments],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    report = json.loads(finished.stdout)

    assert (report["frames"], report["out_of_place"], report["ends_right"]) == (5_000, 0, True)
    assert report["bytes_per_s"] > 300 * report["frames_per_s"] > 0
    assert report["memory"]["readings"] == 200
    assert 0 < report["memory"]["own_last_kib"] < report["memory"]["resident_last_kib"]
    assert report["live"]["baseline_sends"] > 0
    assert report["live"]["baseline_ack_ms"]["p99"] > 0
    assert report["checker"]["ok"] is True
    assert report["checker"]["sends"] > 0
    assert report["ratio"] is None


def test_a_store_is_filled_evenly_and_verifies(tmp_path: Path) -> None:
    keys = [
        conversation_key(ConversationId(f"c{number}"), UserId("a"), UserId(f"b{number}"))
        for number in range(3)
    ]
    told: list[int] = []

    fill_store(tmp_path, keys, 100, text=b"x", progress=told.append)

    checked = verify(tmp_path / STORE)
    assert checked.problems == []
    assert (checked.conversations, checked.records, told[-1]) == (3, 100, 100)


def read(frames: Sequence[InboxFrame], chain: bytes, complete_at: int) -> Replayed:
    """What the reader makes of these frames."""

    async def reading() -> Replayed:
        reader = Reader(ReadPlan("", "", len(frames), chain))
        for one in frames:
            reader.take(MSGPACK.encode(one))
        reader.take(MSGPACK.encode(ResumeComplete(GlobalInboxSeq(complete_at))))
        return await reader.done

    return asyncio.run(reading())


def frame(number: int) -> InboxFrame:
    envelope = RecordedEnvelope(
        PROTOCOL,
        ConversationId("c"),
        MessageId(f"m{number}"),
        UserId("a"),
        UserId("b"),
        b"x",
        "text",
        TimeMs(1),
        ServerSeq(number),
        TimeMs(2),
        IdempotencyKey(f"m{number}"),
    )
    chain = number.to_bytes(32, "big")
    return InboxFrame(GlobalInboxSeq(number), GlobalInboxSeq(number - 1), envelope, chain)


def good() -> list[InboxFrame]:
    return [frame(number) for number in range(1, 6)]


def test_frames_in_their_places_are_found_good() -> None:
    replayed = read(good(), good()[-1].chain, 5)

    assert (replayed.frames, replayed.out_of_place, replayed.ends_right) == (5, 0, True)


def test_a_frame_that_is_missing_doubled_or_late_is_counted() -> None:
    one, two, three, four, five = good()

    assert read([one, two, four, five], five.chain, 5).out_of_place == 1
    assert read([one, two, two, three, four, five], five.chain, 5).out_of_place == 1
    assert read([one, three, two, four, five], five.chain, 5).out_of_place == 3


def test_a_conversation_that_skips_a_number_is_counted_though_the_links_are_whole() -> None:
    frames = good()
    last = frames[-1]
    envelope = structs.replace(last.envelope, server_seq=ServerSeq(7))
    frames[-1] = structs.replace(last, envelope=envelope)

    assert read(frames, last.chain, 5).out_of_place == 1


def test_a_replay_that_stops_early_or_ends_on_another_record_does_not_end_right() -> None:
    assert not read(good()[:-1], good()[-1].chain, 4).ends_right
    assert not read(good(), bytes(32), 5).ends_right
    assert not read(good(), good()[-1].chain, 6).ends_right


@pytest.mark.parametrize("last,flat", [(50_000, True), (58_000, True), (90_000, False)])
def test_memory_that_grows_with_what_was_sent_is_not_flat(last: int, flat: bool) -> None:
    assert Memory(50_000, last, 60_000, 200_000, 200).is_flat is flat
