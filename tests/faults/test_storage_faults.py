"""Disks that are full, disks that break, and ends in good order, of a whole relay under load."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Final

import pytest
import trio
import trio_websocket

from ksmp.types import Epoch
from storage.environment import open_environment
from storage.keys import pack_pair
from tests.faults.observing import KIB, errors_of, pid_of
from tests.faults.strace import syncs
from tests.wire.clients import Frame, Peer
from tests.wire.codecs import Event
from tests.wire.connecting import Clients, StartRelay
from tests.wire.judging import read_everything
from tests.wire.messages import about_send, envelope, ping, resume, send
from tests.wire.relay_process import PROGRAM, REPOSITORY

pytestmark = [pytest.mark.trio, pytest.mark.timeout(120)]

TALK: Final = "talk"
LARGE: Final = 200 * KIB
ENOUGH: Final = 400
A_BUSY_MACHINE_SECONDS: Final = 10
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


@pytest.mark.promises("I1", "I2", "I5", "I9", "I12", "I18")
async def test_without_space_reading_goes_on_and_sending_recovers(start: StartRelay) -> None:
    own = start(**WITHOUT_RATES)
    pid = pid_of(own.relay)
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
            assert logged(own, "storage.full") == 1
        stored[refused["idempotencyKey"]] = (refused, await peer.answer_to(refused))
        assert stored[refused["idempotencyKey"]][1].event["serverSeq"] == len(stored)
    assert await replayed(own, "bob") == acked(stored)
    await read_everything(own)
    assert await trio.to_thread.run_sync(own.relay.terminate) == 0
    assert own.relay.run("verify", "--data", str(own.relay.data_directory))


def logged(own: Clients, event: str) -> int:
    """How many lines of this event the relay has logged."""
    return errors_of(own.relay).count(f'"event":"{event}"')


def plain_lines(written: str) -> list[str]:
    """What is written for people, beside the log."""
    return [line for line in written.splitlines() if not line.startswith("{")]


# ── a disk that breaks ───────────────────────────────────────────────────────────────────────


@pytest.mark.promises("I1", "I4", "I5", "I11", "I12")
@pytest.mark.rule("S38", "S39", "S40")
async def test_failed_sync_ends_the_process_and_acks_nothing(start: StartRelay) -> None:
    own = start()
    kept = [envelope("alice", "bob", conversationId=TALK) for _ in range(5)]
    async with own.connect("alice") as peer:
        acks = [await peer.answer_to(each) for each in kept]
        stderr_before = len(errors_of(own.relay))
        with syncs(pid_of(own.relay), "error=EIO"):
            lost = [envelope("alice", "bob", conversationId=TALK) for _ in range(3)]
            await peer.tell(*map(send, lost))
            assert await trio.to_thread.run_sync(own.relay.wait) == 74
        await peer.close_code()
        answers = peer.kept()
    complaint = errors_of(own.relay)[stderr_before:]

    assert {answer.get("code") for answer in answers} <= {"outcome_unknown"}
    (line,) = plain_lines(complaint)
    assert line == (
        "The store has failed: Input/output error. "
        "Check the disk, run `ksmp-relay verify`, and start the relay again."
    )

    await trio.to_thread.run_sync(own.relay.start)
    async with own.connect("alice") as peer:
        for each, ack in zip(kept, acks, strict=True):
            assert (await peer.answer_to(each)).raw == ack.raw
        seqs = sorted([(await peer.send(each))["serverSeq"] for each in lost])
    assert seqs == [6, 7, 8], "retried, each is there once"
    await read_everything(own)
    assert await trio.to_thread.run_sync(own.relay.terminate) == 0
    assert own.relay.run("verify", "--data", str(own.relay.data_directory))


def lose_inbox_row(store: Path, user: int, number: int) -> None:
    """Take one row out of an inbox, as no relay does."""
    environment = open_environment(
        store, new_epoch=lambda: Epoch("unused"), new_lock=nullcontext, create=False
    )
    transaction = environment.begin()
    assert transaction.delete(pack_pair(user, number), db=environment.tables[b"inbox"])
    transaction.commit()
    environment.close()


@pytest.mark.promises("I9", "I11", final_read=False)  # which would end the process again
async def test_an_inbox_with_a_hole_ends_the_process_and_is_not_passed_over(
    start: StartRelay,
) -> None:
    own = start()
    async with own.connect("alice") as peer:
        for _ in range(5):
            await peer.send(envelope("alice", "bob", conversationId=TALK))
        await peer.resume(0)
    assert await trio.to_thread.run_sync(own.relay.terminate) == 0
    lose_inbox_row(own.relay.data_directory / "store", user=1, number=3)
    stderr_before = len(errors_of(own.relay))
    await trio.to_thread.run_sync(own.relay.start)

    async with own.connect("alice") as peer:
        await peer.tell(resume(0))
        assert await trio.to_thread.run_sync(own.relay.wait) == 74
        await peer.close_code()
        kept = peer.kept()

    assert [event for event in kept if event["type"] == "ksmpv3.resume.complete"] == []
    (line,) = plain_lines(errors_of(own.relay)[stderr_before:])
    assert "is damaged: an inbox lacks a record that is due. Run `ksmp-relay verify`" in line


# ── one store, one process; ends in good order ───────────────────────────────────────────────


@pytest.mark.promises("I1", "I12")
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


class Busy:
    """A user who sends all the time; a batch is accepted for sure once the ping behind it is."""

    def __init__(self, user: str) -> None:
        self.user = user
        self.accepted: list[Event] = []
        self.events: list[Event] = []
        self.began = trio.Event()

    async def send_until_gone(self, own: Clients) -> None:
        async with own.connect(self.user) as peer:
            try:
                while True:
                    batch = [envelope(self.user, "sink", conversationId=TALK) for _ in range(8)]
                    await peer.tell(*map(send, batch), ping())
                    while (event := await peer.receive())["type"] != "ksmpv3.pong":
                        self.events.append(event)
                    self.accepted += batch
                    self.began.set()
            except trio_websocket.ConnectionClosed:
                pass  # found while writing, perhaps: there may be more to read
            assert await peer.close_code() == 1001
            self.events += peer.kept()

    def answered(self) -> tuple[set[str], set[str]]:
        """The keys that were acked, and those that were refused."""
        acked = {e["idempotencyKey"] for e in self.events if e["type"] == "ksmpv3.send.ack"}
        refused = {e["about"]["idempotencyKey"] for e in self.events if "about" in e}
        return acked, refused


@pytest.mark.promises("I1", "I2", "I8", "I11", "I12", "I18", "I23")
async def test_sigterm_under_load_answers_everything_accepted_in_time(start: StartRelay) -> None:
    own = start(**WITHOUT_RATES, server__drain_seconds=5)
    crowd = [Busy(f"user-{number}") for number in range(32)]
    async with trio.open_nursery() as nursery:
        for busy in crowd:
            nursery.start_soon(busy.send_until_gone, own)
        for busy in crowd:
            await busy.began.wait()
        begun = trio.current_time()
        own.relay.signal_terminate()
    assert await trio.to_thread.run_sync(own.relay.wait) == 0
    seconds = trio.current_time() - begun
    await trio.to_thread.run_sync(own.relay.start)
    stored = {key for key, _ in await replayed(own, "sink")}

    assert seconds < 5 + A_BUSY_MACHINE_SECONDS
    for busy in crowd:
        acked, refused = busy.answered()
        assert {each["idempotencyKey"] for each in busy.accepted} <= acked
        assert acked <= stored
        assert not refused & stored
