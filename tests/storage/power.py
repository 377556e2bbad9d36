"""A disk as pessimistic as real ones: what was not synced is lost, or not, sector by sector.

    written     in the system's memory: a process that starts after a kill finds it
    synced      on the disk: all that a power loss leaves for sure
    dropped     written, and given up by a sync that failed: it is read until the power fails, and
                no later sync writes it, unless it is written again (of the journal's files only)

`Disk.at_work` puts itself between the store and the system. At a step of its choice the process is
killed, or a call fails; what a power loss leaves then is up to `Disk.lose_power`.
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import lmdb
import pytest

from storage import environment as environments
from storage.directory import DATA_FILE
from storage.environment import Environment
from storage.journal import JOURNAL_FILES

NO_SPACE = errno.ENOSPC
BROKEN = errno.EIO

SECTOR = 512
FILES = (DATA_FILE, *JOURNAL_FILES)


class Killed(BaseException):
    """The process ends here: nothing above may catch it."""


class Disk:
    """The files of one store, whose directory holds nothing that is not synced yet."""

    def __init__(self, path: Path, chance: random.Random) -> None:
        self._path = path
        self._chance = chance
        self._synced = self._written()
        self._dropped: dict[str, dict[int, bytes]] = {}
        self._removed: dict[str, bytes] = {}  # names that a power loss may bring back
        self._left: bytes | None = None  # of the store's file, where a kill cuts a commit short
        self._steps = 0
        self._kill_at = -1
        self._fail_at: dict[int, int] = {}

    # ── the end of a process, and of the power ───────────────────────────────────────────────

    def restart(self) -> None:
        """The process has ended; the next one finds what was written."""
        if self._left is not None:
            (self._path / DATA_FILE).write_bytes(self._left)
            self._left = None

    def lose_power(self) -> None:
        """Only what was synced is there, and any part of the rest."""
        written = self._written()
        for name in FILES:
            old, new = self._synced.get(name), written.get(name)
            if name in self._removed and self._chance.random() < 0.5:
                new = old = self._removed[name]
            self._leave(name, old, new)
        self._synced = self._written()
        self._dropped.clear()
        self._removed.clear()

    def _leave(self, name: str, old: bytes | None, new: bytes | None) -> None:
        file = self._path / name
        if new is None:
            new = old
        if new is None or (old is None and self._chance.random() < 0.5):
            file.unlink(missing_ok=True)
            return
        old = old or b""
        share = self._chance.choice((0.0, 0.1, 0.5, 0.9, 1.0))
        size = self._chance.choice((len(old), len(new)))
        content = bytearray(old[:size].ljust(size, b"\0"))
        for at in _different(old, new):
            if at < size and self._chance.random() < share and not self._is_dropped(name, at, new):
                content[at : at + SECTOR] = new[at : at + SECTOR].ljust(
                    min(SECTOR, size - at), b"\0"
                )
        file.write_bytes(content[:size])

    # ── between the store and the system ─────────────────────────────────────────────────────

    @contextmanager
    def at_work(self, kill_at: int, fail_at: dict[int, int]) -> Iterator[None]:
        """Kill at this step, and let those fail with these numbers of an error."""
        self._steps, self._kill_at, self._fail_at = 0, kill_at, fail_at
        begin = Environment.begin
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "pwrite", self._pwrite(os.pwrite))
            patch.setattr(os, "fsync", self._sync(os.fsync))
            patch.setattr(os, "fdatasync", self._sync(os.fdatasync))
            patch.setattr(os, "ftruncate", self._stepping(os.ftruncate))
            patch.setattr(os, "posix_fallocate", self._stepping(os.posix_fallocate))
            patch.setattr(Path, "unlink", self._unlink(Path.unlink))
            patch.setattr(Environment, "begin", lambda one: _Transaction(begin(one), self))
            patch.setattr(environments, "_RESERVE_BYTES", 1 << 14)
            yield

    def step(self) -> int:
        """One step further; the number of the error that is due, or 0."""
        self._steps += 1
        if self._steps == self._kill_at:
            raise Killed
        return self._fail_at.get(self._steps, 0)

    def commit(self, transaction: lmdb.Transaction[bytes]) -> None:
        """LMDB's two steps: the pages, synced; then the page that makes them count, synced."""
        before = self._written()[DATA_FILE]
        self.step()
        transaction.commit()
        after = self._written()[DATA_FILE]
        if after == before:
            return
        pages = 2 * os.sysconf("SC_PAGE_SIZE")
        self._left = before[:pages] + after[pages:]
        if self.step():
            self._left = before  # pages that nothing names: it does not matter what is in them
            raise lmdb.DiskError("planted")
        self._settle(DATA_FILE, self._left)
        self._left = after
        self.step()
        self._settle(DATA_FILE, after)
        self._left = None

    def _stepping(self, call: Callable[..., None]) -> Callable[..., None]:
        def stepping(*arguments: object) -> None:
            if code := self.step():
                raise OSError(code, "planted")
            call(*arguments)

        return stepping

    def _pwrite(self, call: Callable[[int, bytes, int], int]) -> Callable[[int, bytes, int], int]:
        def pwrite(file: int, content: bytes, offset: int) -> int:
            if code := self.step():
                call(file, content[: self._chance.randrange(len(content) + 1)], offset)
                raise OSError(code, "planted")
            written = call(file, content, offset)
            dropped = self._dropped.get(_name(file), {})
            for at in range(offset, offset + written):
                dropped.pop(at, None)
            return written

        return pwrite

    def _sync(self, call: Callable[[int], None]) -> Callable[[int], None]:
        def sync(file: int) -> None:
            name = _name(file)
            if name not in FILES:
                self.step()
                self._removed.clear()
                return
            content = self._written().get(name, b"")
            if code := self.step():
                if name != DATA_FILE:
                    self._drop(name, content)
                raise OSError(code, "planted")
            self._settle(name, content)

        del call  # nothing here outlives the test
        return sync

    def _unlink(self, call: Callable[..., None]) -> Callable[..., None]:
        def unlink(path: Path, missing_ok: bool = False) -> None:
            self.step()
            if path.name in self._synced:
                self._removed[path.name] = self._synced.pop(path.name)
                self._dropped.pop(path.name, None)
            call(path, missing_ok)

        return unlink

    # ── what is where ────────────────────────────────────────────────────────────────────────

    def _written(self) -> dict[str, bytes]:
        files = [self._path / name for name in FILES]
        return {file.name: file.read_bytes() for file in files if file.exists()}

    def _settle(self, name: str, written: bytes) -> None:
        old = self._synced.get(name, b"")
        content = bytearray(written)
        for at in self._dropped.get(name, {}):
            if self._is_dropped(name, at, written):
                content[at : at + SECTOR] = old[at : at + SECTOR].ljust(
                    len(content[at : at + SECTOR]), b"\0"
                )
        self._synced[name] = bytes(content)

    def _drop(self, name: str, written: bytes) -> None:
        dropped = self._dropped.setdefault(name, {})
        for at in _different(self._synced.get(name, b""), written):
            dropped[at] = written[at : at + SECTOR]

    def _is_dropped(self, name: str, at: int, written: bytes) -> bool:
        return self._dropped.get(name, {}).get(at) == written[at : at + SECTOR]


class _Transaction:
    """A write transaction of which each step is one of the disk's."""

    def __init__(self, transaction: lmdb.Transaction[bytes], disk: Disk) -> None:
        self._transaction = transaction
        self._disk = disk

    def commit(self) -> None:
        self._disk.commit(self._transaction)

    def __getattr__(self, name: str) -> object:
        return getattr(self._transaction, name)


def _different(old: bytes, new: bytes) -> Iterator[int]:
    for at in range(0, max(len(old), len(new)), SECTOR):
        if old[at : at + SECTOR] != new[at : at + SECTOR]:
            yield at


def _name(file: int) -> str:
    return Path(os.readlink(f"/proc/self/fd/{file}")).name
