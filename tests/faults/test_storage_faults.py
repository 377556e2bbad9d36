"""Disks that are full, disks that break, and ends in good order, of a whole relay under load."""

from __future__ import annotations

import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
import trio
import trio_websocket

from tests.faults.observing import KIB
from tests.wire.clients import Frame, Peer
from tests.wire.codecs import Event
from tests.wire.connecting import Clients, StartRelay
from tests.wire.messages import about_send, envelope, send
from tests.wire.relay_process import PROGRAM, REPOSITORY

pytestmark = [pytest.mark.trio, pytest.mark.timeout(120)]

TALK: Final = "talk"
LARGE: Final = 200 * KIB
ENOUGH: Final = 400
WITHOUT_RATES: Final = {"limits__sends_per_second": 1_000_000, "limits__sends_burst": 1_000_000}

Stored = dict[str, tuple[Event, Frame]]


def large(number: int) -> Event:
    return envelope("alice", "bob", conversationId=TALK, ciphertext=bytes([number % 256]) * LARGE)


@contextmanager
def file_size_limit(pid: int, limit: int) -> Iterator[None]:
    """No file of the process may grow beyond `limit` bytes: its disk is full."""
    unlimited = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (limit, unlimited[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, unlimited)


async def fill(peer: Peer, stored: Stored) -> Event:
    """Send until one is refused; that one. What was acked goes to `stored`."""
    for number in range(ENOUGH):
        offered = large(number)
        answer = await peer.answer_to(offered)
        if answer.event["type"] == "ksmpv3.error":
            assert_full(answer.event, offered)
            return offered
        stored[offered["idempotencyKey"]] = (offered, answer)
    raise AssertionError("the disk never filled up")


def assert_full(error: Event, offered: Event) -> None:
    assert (error["code"], error["retryable"], error["action"]) == ("storage_full", True, "retry")
    assert error["retryAfterMs"] > 0
    assert error["about"] == about_send(offered)


async def replayed(own: Clients, user: str) -> list[tuple[str, int]]:
    async with own.connect(user) as peer:
        frames = [frame.event["envelope"] for frame in (await peer.resume(0))[:-1]]
    return [(frame["idempotencyKey"], frame["serverSeq"]) for frame in frames]


def acked(stored: Stored) -> list[tuple[str, int]]:
    return [(key, ack.event["serverSeq"]) for key, (_, ack) in stored.items()]


async def test_without_space_reading_goes_on_and_sending_recovers(start: StartRelay) -> None:
    own = start(**WITHOUT_RATES)
    pid = own.relay.pid
    stored: Stored = {}
    async with own.connect("alice") as peer:
        first = envelope("alice", "bob", conversationId=TALK)
        stored[first["idempotencyKey"]] = (first, await peer.answer_to(first))
        size = (own.relay.data_directory / "store" / "data.mdb").stat().st_size
        with file_size_limit(pid, size):
            refused = await fill(peer, stored)
            assert len(stored) > 1, "what was reserved is used before anyone is refused"
            for offered, ack in list(stored.values())[:10]:
                assert (await peer.answer_to(offered)).raw == ack.raw
            assert await replayed(own, "bob") == acked(stored)
            assert_full((await peer.answer_to(refused)).event, refused)
        stored[refused["idempotencyKey"]] = (refused, await peer.answer_to(refused))
        assert stored[refused["idempotencyKey"]][1].event["serverSeq"] == len(stored)
    assert await replayed(own, "bob") == acked(stored)
    assert await trio.to_thread.run_sync(own.relay.terminate) == 0
    assert own.relay.run("verify", "--data", str(own.relay.data_directory))


# ── a disk that breaks ───────────────────────────────────────────────────────────────────────


@contextmanager
def failing_syncs(pid: int) -> Iterator[None]:
    """Every fdatasync of the process fails with EIO."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed: it makes a sync fail")
    inject = ["-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO"]
    strace = subprocess.Popen(
        ["strace", "-f", "-qq", "-o", "/dev/null", *inject, "-p", str(pid)],
        stdin=subprocess.DEVNULL,
    )
    try:
        while not all(map(_is_traced, Path(f"/proc/{pid}/task").iterdir())):
            assert strace.poll() is None, "strace cannot attach"
        yield
    finally:
        strace.terminate()
        strace.wait(10)


def _is_traced(task: Path) -> bool:
    lines = (task / "status").read_text().splitlines()
    return "TracerPid:\t0" not in lines


async def test_failed_sync_ends_the_process_and_acks_nothing(start: StartRelay) -> None:
    own = start()
    kept = [envelope("alice", "bob", conversationId=TALK) for _ in range(5)]
    async with own.connect("alice") as peer:
        acks = [await peer.answer_to(each) for each in kept]
        stderr_before = len(own.relay.errors())
        with failing_syncs(own.relay.pid):
            lost = [envelope("alice", "bob", conversationId=TALK) for _ in range(3)]
            await peer.tell(*map(send, lost))
            assert await trio.to_thread.run_sync(own.relay.wait) == 74
        await peer.close_code()
        answers = peer.kept()
    complaint = own.relay.errors()[stderr_before:].decode()

    assert {answer.get("code") for answer in answers} <= {"outcome_unknown"}
    assert "The store has failed" in complaint
    assert "Traceback" not in complaint

    await trio.to_thread.run_sync(own.relay.start)
    async with own.connect("alice") as peer:
        for each, ack in zip(kept, acks, strict=True):
            assert (await peer.answer_to(each)).raw == ack.raw
        seqs = sorted([(await peer.send(each))["serverSeq"] for each in lost])
    assert seqs == [6, 7, 8], "retried, each is there once"
    assert await trio.to_thread.run_sync(own.relay.terminate) == 0
    assert own.relay.run("verify", "--data", str(own.relay.data_directory))


# ── one store, one process; ends in good order ───────────────────────────────────────────────


async def test_a_second_process_on_the_same_directory_is_told_why(start: StartRelay) -> None:
    own = start()
    rival = await trio.run_process(
        [*PROGRAM, "serve", "--data", str(own.relay.data_directory), "--port", "0"],
        cwd=REPOSITORY,
        capture_stdout=True,
        capture_stderr=True,
        check=False,
    )
    complaint = rival.stderr.decode()

    assert rival.returncode == 73
    assert "in use" in complaint
    assert "another process" in complaint
    assert "Traceback" not in complaint
    async with own.connect("alice") as peer:
        await peer.send(envelope("alice", "bob"))


async def test_sigterm_under_load_answers_everything_accepted_in_time(start: StartRelay) -> None:
    own = start(**WITHOUT_RATES, server__drain_seconds=5)
    users = [f"user-{number}" for number in range(32)]
    sent: dict[str, list[Event]] = {user: [] for user in users}
    answers: dict[str, list[Event]] = {}
    busy = 0
    all_busy = trio.Event()

    async def send_until_gone(user: str) -> None:
        nonlocal busy
        async with own.connect(user) as peer:
            busy += 1
            if busy == len(users):
                all_busy.set()
            try:
                while True:
                    new = [envelope(user, "everybody", conversationId=TALK) for _ in range(4)]
                    sent[user] += new
                    await peer.tell(*map(send, new))
                    assert len(await peer.before_pong()) <= 4 + 1
            except trio_websocket.ConnectionClosed:
                pass
            answers[user] = peer.kept()

    async with trio.open_nursery() as nursery:
        for user in users:
            nursery.start_soon(send_until_gone, user)
        await all_busy.wait()
        begun = trio.current_time()
        own.relay.signal_terminate()
    assert await trio.to_thread.run_sync(own.relay.wait) == 0
    assert trio.current_time() - begun < 5
