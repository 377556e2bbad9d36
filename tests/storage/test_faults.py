"""Disks that are full, disks that break, processes that are killed."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ksmp.types import GlobalInboxSeq, UserId
from storage.environment import Environment
from storage.log import Append, Appended, ConversationHead, Failed, Full, KnownKeys, Page, ReadHead
from storage.reader import Reader
from storage.transaction import Writer
from storage.verify import verify
from tests.storage.world import Sent, append, base, conversation, head_after, opened, writer

KEY = conversation("ann", "bob")
ROOT = Path(__file__).parents[2]


@contextmanager
def child(what: str, path: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.storage.child", what, str(path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def breaking(code: int, call: str = "pwrite") -> Iterator[None]:
    """Whatever is written, or synced, fails so; nothing is."""

    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, call, fail)
        yield


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_commit_without_space_is_clean_and_sending_recovers(tmp_path: Path, code: int) -> None:
    with opened(tmp_path / "store") as environment:
        one = writer(environment)
        first = append(KEY, base(KEY), [Sent("ann", "k1")])
        one.transact([first])
        new = append(KEY, head_after(first), [Sent("ann", "k2", bytes(1 << 20))])
        again = append(KEY, head_after(first), [Sent("ann", "k1")])

        with breaking(code):
            outcomes = one.transact([new, again, ReadHead(KEY)])

        assert [type(outcome) for outcome in outcomes] == [Full, KnownKeys, ConversationHead]
        assert outcomes[2] == head_after(first)
        assert isinstance(one.transact([new])[0], Appended)
    assert verify(tmp_path / "store").records == 2


@pytest.mark.parametrize("call", ["pwrite", "fdatasync"])
def test_io_error_fails_every_operation_and_all_later_ones(tmp_path: Path, call: str) -> None:
    with opened(tmp_path / "store") as environment:
        one = writer(environment)
        new = append(KEY, base(KEY), [Sent("ann", "k1")])

        with breaking(errno.EIO, call):
            outcomes = one.transact([ReadHead(KEY), new])
        later = one.transact([ReadHead(KEY)])

        assert [type(outcome) for outcome in (*outcomes, *later)] == [Failed, Failed, Failed]


def test_free_space_that_cannot_be_told_is_a_failure_without_a_client_s_word(
    tmp_path: Path,
) -> None:
    def broken() -> int:
        raise KeyError("canary")

    with opened(tmp_path / "store") as environment:
        (outcome,) = Writer(environment, broken).transact(
            [append(KEY, base(KEY), [Sent("ann", "k1")])]
        )

    assert isinstance(outcome, Failed)
    assert "canary" not in str(outcome.error)


@pytest.mark.parametrize("what", ["run_out_of_space", "break_in_a_checkpoint"])
def test_file_that_may_not_grow(tmp_path: Path, what: str) -> None:
    with child(what, tmp_path / "store") as process:
        assert process.wait(60) == 0

    assert verify(tmp_path / "store").problems == []


def test_killed_at_any_moment_the_store_is_whole_and_has_all_that_was_acknowledged(
    tmp_path: Path,
) -> None:
    path = tmp_path / "store"
    acknowledged = 0
    for kills in range(8):
        with child("write", path) as process:
            assert process.stdout is not None
            for _ in range(5 + 7 * kills):
                acknowledged = int(process.stdout.readline())
            process.kill()
            process.wait(10)
            lines = process.stdout.read().splitlines(keepends=True)
            acknowledged = max([acknowledged, *(int(one) for one in lines if one.endswith("\n"))])

        found = verify(path)

        assert found.problems == []
        assert found.records >= acknowledged


def test_map_grows_under_a_reader_that_never_stops(tmp_path: Path) -> None:
    stop = threading.Event()
    problems: list[object] = []
    sizes: list[int] = []

    def read(environment: Environment) -> None:
        reader = Reader(environment)
        while not stop.is_set():
            page = reader.page(UserId("bob"), GlobalInboxSeq(0), GlobalInboxSeq(10**6), 10**8)
            if not isinstance(page, Page):
                problems.append(page)
                return
            sizes.append(len(page.rows))

    with opened(tmp_path / "store", map_size_bytes=1 << 18) as environment:
        thread = threading.Thread(target=read, args=(environment,))
        thread.start()
        one = writer(environment)
        head = base(KEY)
        for n in range(60):
            new: Append = append(KEY, head, [Sent("ann", f"k{n}", bytes(200_000))])
            head = head_after(new)
            assert isinstance(one.transact([new])[0], Appended)
        stop.set()
        thread.join()

    assert problems == []
    assert sizes == sorted(sizes)
    assert len(set(sizes)) > 1
