"""Opening a store: durable, private, of this version, and held by one process."""

from __future__ import annotations

import os
import subprocess
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import lmdb
import pytest

from ksmp.types import Epoch
from storage import environment as environment_module
from storage.directory import DATA_FILE, LOCK_FILE, DirectoryLock
from storage.environment import open_environment
from storage.epoch import begin_new_epoch
from storage.errors import (
    StorageError,
    StoreBusyError,
    StoreCorruptError,
    StoreFailedError,
    StoreIncompatibleError,
    StoreMissingError,
    StoreUnavailableError,
)
from storage.tables import META_ENGINE, META_EPOCH, META_FORMAT, read_folded
from storage.verify import verify
from tests.storage.test_faults import child
from tests.storage.world import EPOCH, Sent, append, base, conversation, fold, opened, writer

KEY = conversation("ann", "bob")


def make(path: Path) -> Path:
    with opened(path) as environment:
        writer(environment).transact([append(KEY, base(KEY), [Sent("ann", "k", bytes(50_000))])])
        fold(environment)
    return path


def reopen(path: Path) -> Epoch:
    environment = open_environment(
        path, new_epoch=lambda: Epoch("another"), new_lock=nullcontext, create=False
    )
    environment.close()
    return environment.epoch


# ── one process ──────────────────────────────────────────────────────────────────────────────


def test_second_process_is_refused_until_the_first_is_gone_however_it_went(
    tmp_path: Path,
) -> None:
    path = tmp_path / "store"
    with child("hold", path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        with pytest.raises(StoreBusyError, match="in use"):
            reopen(path)
        with pytest.raises(StoreBusyError):
            verify(path)
        with pytest.raises(StoreBusyError):
            begin_new_epoch(path, lambda: Epoch("x"))
        process.kill()
        process.wait(10)

    assert reopen(path) == EPOCH


def test_second_opening_in_the_same_process_is_refused_too(tmp_path: Path) -> None:
    with opened(tmp_path / "store"), pytest.raises(StoreBusyError):
        reopen(tmp_path / "store")


def test_store_that_failed_to_open_is_not_left_locked(tmp_path: Path) -> None:
    path = make(tmp_path / "store")
    content = (path / DATA_FILE).read_bytes()
    (path / DATA_FILE).write_bytes(b"x" * 10_000)
    with pytest.raises(StoreIncompatibleError):
        reopen(path)
    (path / DATA_FILE).write_bytes(content)

    assert reopen(path) == EPOCH


def test_two_verifications_may_run_at_once_and_keep_the_relay_out(tmp_path: Path) -> None:
    path = make(tmp_path / "store")
    holder = DirectoryLock(path, shared=True, create=False)

    assert verify(path).ok
    with pytest.raises(StoreBusyError):
        reopen(path)
    holder.release()
    assert reopen(path) == EPOCH


# ── made ─────────────────────────────────────────────────────────────────────────────────────


def test_new_store_is_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        path = tmp_path / "a" / "store"
        with opened(path) as environment:
            writer(environment).transact([append(KEY, base(KEY), [Sent("ann", "k")])])
    finally:
        os.umask(before)

    assert {one.name: oct(one.stat().st_mode & 0o777) for one in path.iterdir()} == {
        "data.mdb": "0o600",
        "journal-0": "0o600",
        "journal-1": "0o600",
        "lock.mdb": "0o600",
        "store.lock": "0o600",
    }
    assert path.stat().st_mode & 0o777 == path.parent.stat().st_mode & 0o777 == 0o700


def test_every_new_name_is_synced_in_its_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    path = make(tmp_path / "a" / "store")

    assert {str(tmp_path), str(path.parent), str(path)} <= set(synced)


def test_a_power_loss_while_the_store_is_made_keeps_no_later_start_from_making_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine begins a file with two pages, and refuses one that lacks either for ever after."""
    path = tmp_path / "store"

    def lose_power(descriptor: int) -> None:
        written = Path(f"/proc/self/fd/{descriptor}").readlink()
        if written.suffix:  # a file: it has its length, and its first page is lost
            written.write_bytes(bytes(4096) + written.read_bytes()[4096:])
            raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", lose_power)
    with pytest.raises(KeyboardInterrupt):
        make(path)
    monkeypatch.undo()

    make(path)
    assert verify(path).ok
    assert sorted(one.name for one in path.iterdir()) == [DATA_FILE, "lock.mdb", LOCK_FILE]


def test_a_start_relies_on_nothing_that_a_killed_process_left_unsynced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the journal would be written over for rows that a loss of power takes out again."""
    path = tmp_path / "store"
    with opened(path):
        pass
    steps: list[str] = []
    fsync, read = os.fsync, read_folded

    def syncing(file: int) -> None:
        steps.append(Path(os.readlink(f"/proc/self/fd/{file}")).name)
        fsync(file)

    def reading(*arguments: Any) -> Any:
        steps.append("read")
        return read(*arguments)

    monkeypatch.setattr(os, "fsync", syncing)
    monkeypatch.setattr("storage.environment.read_folded", reading)
    with opened(path):
        pass

    assert DATA_FILE in steps[: steps.index("read")]


def test_epoch_is_asked_for_once_and_kept(tmp_path: Path) -> None:
    path = make(tmp_path / "store")

    assert reopen(path) == EPOCH


def test_start_that_was_cut_off_before_the_first_commit_is_taken_up_again(tmp_path: Path) -> None:
    path = tmp_path / "store"
    lmdb.Environment(str(path), lib_version=0).close()

    assert reopen(path) == "another"


def test_new_epoch_is_committed_and_the_content_stays(tmp_path: Path) -> None:
    path = make(tmp_path / "store")

    assert begin_new_epoch(path, lambda: Epoch("after-restore")) == "after-restore"

    assert reopen(path) == "after-restore"
    assert verify(path).records == 1


def test_engine_that_does_not_sync_is_not_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for weak in ({"sync": False}, {"metasync": False}, {"writemap": True}):
        monkeypatch.setattr(
            environment_module,
            "open_engine",
            lambda path, size, weak=weak: lmdb.Environment(
                str(path), map_size=size, max_dbs=12, lib_version=0, **weak
            ),
        )
        with pytest.raises(StoreFailedError, match="not durable"):
            make(tmp_path / "store")


# ── refused ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "work", [reopen, verify, lambda path: begin_new_epoch(path, lambda: EPOCH)]
)
def test_offline_commands_make_no_store(tmp_path: Path, work) -> None:
    (tmp_path / "empty").mkdir()

    with pytest.raises(StoreMissingError):
        work(tmp_path / "empty")

    assert list((tmp_path / "empty").iterdir()) == []


@pytest.mark.parametrize("row", [META_FORMAT, META_ENGINE])
@pytest.mark.parametrize("work", [reopen, verify])
def test_store_of_another_format_or_engine_is_refused(tmp_path: Path, row: bytes, work) -> None:
    path = make(tmp_path / "store")
    with opened(path) as environment:
        transaction = environment.begin()
        transaction.put(row, b"\0\4", db=environment.tables[b"meta"])
        transaction.commit()

    with pytest.raises(StoreIncompatibleError, match="cannot be read by this version"):
        work(path)


def test_file_of_another_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with lmdb.Environment(str(path), lib_version=0) as env, env.begin(write=True) as transaction:
        transaction.put(b"k", b"v")

    with pytest.raises(StoreIncompatibleError, match="some other program"):
        reopen(path)


def test_file_of_the_other_engine_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "store"
    lmdb.Environment(str(path), lib_version=1).close()

    with pytest.raises(StoreIncompatibleError, match=r"not one of LMDB 0\.9"):
        reopen(path)


def test_store_without_an_epoch_is_damaged(tmp_path: Path) -> None:
    path = make(tmp_path / "store")
    with opened(path) as environment:
        transaction = environment.begin()
        transaction.delete(META_EPOCH, db=environment.tables[b"meta"])
        transaction.commit()

    with pytest.raises(StoreCorruptError, match="no epoch"):
        reopen(path)
    assert verify(path).problems == ["it has no epoch"]


def test_truncated_file_is_refused_instead_of_ending_the_process(tmp_path: Path) -> None:
    path = make(tmp_path / "store")
    os.truncate(path / DATA_FILE, 20 * 4096)

    with pytest.raises(StoreCorruptError, match="shorter than its content"):
        reopen(path)
    assert not verify(path).ok


def test_file_in_place_of_the_directory_is_told(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("")

    with pytest.raises(StoreUnavailableError):
        make(tmp_path / "store")


def test_every_refusal_says_what_why_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StorageError) as caught:
        reopen(tmp_path)

    error = caught.value
    assert str(error) == f"{error.what}: {error.why}. {error.what_to_do}"
    assert str(tmp_path) in error.what


def test_lock_file_left_behind_locks_nobody_out(tmp_path: Path) -> None:
    path = make(tmp_path / "store")

    assert (path / LOCK_FILE).exists()
    assert reopen(path) == EPOCH
    subprocess.run(["rm", path / LOCK_FILE, path / "lock.mdb"], check=True)
    assert verify(path).ok
    assert sorted(one.name for one in path.iterdir()) == [DATA_FILE]
