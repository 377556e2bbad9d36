"""Who a revocation covers, and how a running relay learns of it."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import TypeVar

import pytest
import trio
from trio.testing import MockClock

from ksmp.types import DeviceId, TimeMs, UserId
from relay.auth import Identity
from relay.exits import CommandError
from relay.revocation_file import REVOCATIONS_FILE, RevokedSince, change_revocations
from relay.revocation_watch import LOOK_SECONDS, RevocationWatch
from relay.revocations import Revocation, Revocations
from tests.recording_telemetry import RecordingTelemetry

T = TypeVar("T")

USERS = [UserId("alice"), UserId("bob")]
DEVICES = [DeviceId("phone"), DeviceId("tablet")]
TOKENS = ["t-1", "t-2", ""]


def identity(user: UserId, device: DeviceId, token_id: str | None) -> Identity:
    return Identity(user, device, TimeMs(1), None, token_id)


EVERYONE = [identity(*each) for each in product(USERS, DEVICES, [*TOKENS, None])]
EVERY_REVOCATION = [Revocation(*each) for each in product(USERS, [*DEVICES, None], [*TOKENS, None])]


def fits(revocation: Revocation, one: Identity) -> bool:
    """The rule in its own words: all that is given must fit."""
    return (
        revocation.user == one.user
        and revocation.device in (None, one.device)
        and revocation.token_id in (None, one.token_id)
    )


@pytest.mark.parametrize("revocation", EVERY_REVOCATION, ids=repr)
def test_a_revocation_covers_whom_all_that_it_gives_fits(revocation: Revocation) -> None:
    revocations = Revocations({revocation})

    covered = [one for one in EVERYONE if revocations.cover(one)]

    assert covered == [one for one in EVERYONE if fits(revocation, one)]
    assert covered


def test_no_revocation_covers_nobody_and_the_latest_set_is_the_one_that_counts() -> None:
    revocations = Revocations({})
    assert not any(map(revocations.cover, EVERYONE))

    revocations.adopt({Revocation(UserId("alice"))})
    assert [one.user for one in EVERYONE if revocations.cover(one)] == ["alice"] * 8
    revocations.adopt({Revocation(UserId("bob"))})
    assert [one.user for one in EVERYONE if revocations.cover(one)] == ["bob"] * 8


class Comparing(str):
    """A user id that counts how often any is compared or hashed."""

    __slots__ = ()
    looked_at = 0

    def __eq__(self, other: object) -> bool:
        Comparing.looked_at += 1
        return str.__eq__(self, other)

    def __hash__(self) -> int:
        Comparing.looked_at += 1
        return str.__hash__(self)


def test_a_question_costs_the_same_among_very_many() -> None:
    costs = []
    for count in (10, 100_000):
        revocations = Revocations({Revocation(UserId(f"user-{n}")) for n in range(count)})
        Comparing.looked_at = 0
        revocations.cover(identity(UserId(Comparing("nobody")), DeviceId("phone"), "t-1"))
        costs.append(Comparing.looked_at)

    assert costs[0] == costs[1]


# ── the watch ────────────────────────────────────────────────────────────────────────────────


class Watched:
    """A watch on a directory; `enforced` has how many were revoked each time it was enforced."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.telemetry = RecordingTelemetry()
        self.reads = 0
        self.watch = RevocationWatch(directory, self._in_thread, self.telemetry)
        self.enforced: list[int] = []

    async def _in_thread(self, call: Callable[[], T]) -> T:
        self.reads += 1
        return call()

    async def run(self) -> None:
        await self.watch.run(self._enforce)

    async def _enforce(self) -> None:
        self.enforced.append(len(self.watch.revocations))

    def revoke(self, *users: str) -> None:
        def add(revoked: RevokedSince) -> bool:
            revoked.update((Revocation(UserId(user)), TimeMs(1)) for user in users)
            return True

        change_revocations(self.directory, add)

    @property
    def file(self) -> Path:
        return self.directory / REVOCATIONS_FILE


async def a_look() -> None:
    await trio.sleep(1.5 * LOOK_SECONDS)


async def test_a_change_of_the_file_is_in_force_after_the_next_look_and_enforced_once(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    watched = Watched(tmp_path)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watched.run)
        await a_look()
        assert watched.enforced == [0]
        watched.revoke("alice", "bob")
        await a_look()
        await a_look()
        assert watched.enforced == [0, 2]
        watched.revoke("carol")
        await a_look()
        assert watched.enforced == [0, 2, 3]
        assert watched.telemetry.events == ["revocations.loaded"] * 2
        nursery.cancel_scope.cancel()


def test_what_the_file_holds_at_the_start_is_in_force_before_the_first_look(
    tmp_path: Path,
) -> None:
    Watched(tmp_path).revoke("alice")

    watched = Watched(tmp_path)

    assert watched.watch.revocations.cover(identity(USERS[0], DEVICES[0], None))
    assert watched.telemetry.events == ["revocations.loaded"]


async def test_a_watch_that_was_restarted_enforces_what_its_predecessor_may_have_left(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    watched = Watched(tmp_path)
    for restarts in range(1, 3):
        with trio.move_on_after(3 * LOOK_SECONDS):
            await watched.run()
        assert watched.enforced == [0] * restarts


def spoil(file: Path) -> None:
    file.write_bytes(file.read_bytes().replace(b"alice", b"alicf"))


def hide(file: Path) -> None:
    """In the place of the file is what cannot be read as one."""
    file.unlink()
    file.mkdir()


def clog(file: Path) -> None:
    """In the place of the file is what would keep whoever opens it waiting for ever."""
    file.unlink()
    os.mkfifo(file)


@pytest.mark.parametrize("break_it", [spoil, hide, clog, Path.unlink])
async def test_a_file_that_cannot_be_used_changes_nothing_and_is_complained_of_once(
    break_it: Callable[[Path], None], tmp_path: Path, autojump_clock: MockClock
) -> None:
    Watched(tmp_path).revoke("alice")
    watched = Watched(tmp_path)
    good = watched.file.read_bytes()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watched.run)
        await a_look()
        break_it(watched.file)
        for _ in range(3):
            await a_look()
        assert watched.watch.revocations.cover(identity(USERS[0], DEVICES[0], None))
        assert watched.enforced == [1]
        complaints = [line for line in watched.telemetry.lines if line.level == "error"]
        assert [line.event for line in complaints] == ["revocations.unusable"]

        if watched.file.is_dir():
            watched.file.rmdir()
        watched.file.unlink(missing_ok=True)
        watched.file.write_bytes(good)
        watched.revoke("bob")
        await a_look()
        assert watched.enforced == [1, 2]
        nursery.cancel_scope.cancel()


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    """What is open stays open, and nothing else can be opened."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_a_revocation_made_while_no_descriptor_is_left_is_in_force_when_there_is_one(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    watched = Watched(tmp_path)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watched.run)
        await a_look()
        watched.revoke("alice")
        with no_descriptor_left():
            await a_look()
            await a_look()
        assert watched.enforced == [0]
        assert watched.telemetry.events == ["revocations.unusable"], "complained of once"

        await a_look()
        assert watched.enforced == [0, 1]
        nursery.cancel_scope.cancel()


def test_a_watch_cannot_be_made_on_a_damaged_file(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    watched.revoke("alice")
    spoil(watched.file)

    with pytest.raises(CommandError):
        Watched(tmp_path)
