"""One open store: an LMDB environment with every promise of durability on, and its journal.

LMDB keeps a write transaction's pages beside the old ones, syncs them, then writes and syncs one
meta page that makes them the current ones. So a crash at any moment leaves the last transaction or
the one before it. That is true with `sync=True, metasync=True, writemap=False` only, which is why
they are asserted. What has been committed since is in the journal: opening reads it, and from then
on every view shows it.

Two things LMDB leaves to its user are done here:

- the map has a fixed size and may be replaced only while no transaction is open: whoever reads
  holds a lock for the length of a view, growth holds both locks while it replaces the map;
- a full disk shows as a short write, which LMDB reports as an I/O error. So that an I/O error
  means one thing only, the space a transaction may need is reserved before it commits.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Final

import lmdb

from ksmp.types import Epoch
from storage.directory import (
    DATA_FILE,
    DirectoryLock,
    create_directory,
    missing,
    sync_directory,
    sync_file,
    unavailable,
)
from storage.engine import (
    assert_durable,
    assert_whole,
    double_map,
    explain,
    make_engine_file,
    open_engine,
)
from storage.errors import NO_SPACE, NoSpaceError
from storage.journal import (
    NOTHING_FOUND,
    SEGMENT_BYTES,
    Found,
    Frame,
    GapError,
    Journal,
    find_frames,
)
from storage.keys import FORMAT_VERSION
from storage.rows import Rows, Unfolded, View, decode_rows, no_rows
from storage.tables import (
    META_CHECK,
    META_FORMAT,
    UPGRADABLE,
    Folded,
    Tables,
    begin_journal,
    corrupt,
    create_tables,
    open_tables,
    put_check,
    put_folded,
    read_epoch,
    read_folded,
)
from storage.upgrade import upgrade
from storage.usage import StoreUsage

DEFAULT_MAP_SIZE_BYTES: Final = 1 << 30
"""Address space, not disk space: the file grows with its content."""

SMALL_TRANSACTION_PAGES: Final = 64
"""More than one that puts a few rows can add to the file."""

_RESERVE_BYTES: Final = 16 << 20  # the file grows by as much at a time, where there is room
_NO_RESERVATION: Final = frozenset((errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.ENODEV))


class Environment:
    """An open store. The writer's methods belong to one thread; `reading` is for any.

    Build it with `open_environment`.
    """

    def __init__(
        self,
        path: Path,
        env: lmdb.Environment,
        *,
        tables: Tables,
        epoch: Epoch,
        lock: DirectoryLock,
        new_lock: Callable[[], AbstractContextManager[object]],
        journal: Journal,
        unfolded: Unfolded,
        is_whole: bool,
    ) -> None:
        self.path = path
        self.tables = tables
        self.epoch = epoch
        self.journal = journal
        self.unfolded = unfolded
        self._is_whole = is_whole
        self._env = env
        self._lock = lock
        self._reader_lock = new_lock()
        self._writer_lock = new_lock()
        self._file = os.open(path / DATA_FILE, os.O_RDWR | os.O_CLOEXEC)
        self.page_size = env.stat()["psize"]
        self._reserved_bytes = os.fstat(self._file).st_size
        self._can_grow = True

    # ── for readers ──────────────────────────────────────────────────────────────────────────

    @contextmanager
    def reading(self) -> Iterator[View]:
        """What is committed. Keep it short: a growing map waits for it."""
        with self._reader_lock:
            yield from self._viewing()

    def usage(self) -> StoreUsage | None:
        """How much room the store takes; None where the system does not say. It may wait."""
        try:
            with self._reader_lock:
                engine = self._env.info()
            system = os.fstatvfs(self._file)
        except (OSError, lmdb.Error):
            return None
        return StoreUsage(
            file_bytes=os.fstat(self._file).st_blocks * 512 + self.journal.file_bytes,
            map_bytes=engine["map_size"],
            used_bytes=(engine["last_pgno"] + 1) * self.page_size,
            can_grow=self._can_grow,
            free_bytes=system.f_bavail * system.f_frsize,
        )

    # ── for the writer ───────────────────────────────────────────────────────────────────────

    @contextmanager
    def viewing(self) -> Iterator[View]:
        """The same for the storage thread, which no reader shall keep waiting."""
        with self._writer_lock:
            yield from self._viewing()

    def _viewing(self) -> Iterator[View]:
        generations = self.unfolded.generations
        with self._env.begin() as transaction:
            yield View(generations, transaction, self.tables)

    def open_journal(self) -> None:
        """All that was found in the journal is on the disk, and it can be written to.

        Raises:
            StoreUnavailableError: the operating system refuses.
        """
        try:
            self.journal.open()
        except OSError as error:
            raise unavailable(self.path, error) from error

    def use_journal(self) -> None:
        """Frames of the journal count from now on. A second call does nothing.

        Raises:
            NoSpaceError: there is no room for it.
            OSError, lmdb.Error: the outcome is unknown.
        """
        if self._is_whole:
            self.journal.empty()
            self._put_folded(Folded(self.journal.number, False))

    def drop_journal(self) -> None:
        """The store is whole: the tables have all, and the journal's files are gone.

        Raises:
            lmdb.Error, OSError: the outcome is unknown.
        """
        if not self._is_whole:
            self._put_folded(Folded(self.journal.number, True))
        self.journal.remove()

    def _put_folded(self, folded: Folded) -> None:
        while True:
            try:
                self._commit_folded(folded)
            except lmdb.MapFullError:
                if not self.grow():
                    raise NoSpaceError from None
            else:
                self._is_whole = folded.is_whole
                return

    def _commit_folded(self, folded: Folded) -> None:
        transaction = self.begin()
        try:
            self.reserve(SMALL_TRANSACTION_PAGES)
            put_folded(transaction, self.tables, folded)
            transaction.commit()
        finally:
            transaction.abort()  # does nothing after a commit

    def begin(self) -> lmdb.Transaction[bytes]:
        """The write transaction. There is one at a time; commit or abort it."""
        return self._env.begin(write=True)

    def grow(self) -> bool:
        """Double the map; False where the address space does not give that much.

        No write transaction may be open. Waits for the readers' transactions to end.
        """
        with self._reader_lock, self._writer_lock:
            self._can_grow = double_map(self._env)
        return self._can_grow

    def reserve(self, pages: int) -> None:
        """The file has room for `pages` beyond those in use, so that a commit cannot run out.

        Where the file system cannot reserve, this promises nothing, and a disk that fills up in
        the middle of a commit is taken for a broken one.

        Raises:
            NoSpaceError: there is no such room.
        """
        end = (self._env.info()["last_pgno"] + 1 + pages) * self.page_size
        if end > self._reserved_bytes:
            try:
                self._extend(-(-end // _RESERVE_BYTES) * _RESERVE_BYTES)
            except NoSpaceError:
                self._extend(end)

    def _extend(self, end: int) -> None:
        try:
            os.posix_fallocate(self._file, self._reserved_bytes, end - self._reserved_bytes)
        except OSError as error:
            if error.errno in NO_SPACE:
                raise NoSpaceError from error
            if error.errno not in _NO_RESERVATION:
                raise
        self._reserved_bytes = end

    def close(self) -> None:
        """Release everything. Nobody may be reading or writing; a second call changes nothing."""
        if self._file >= 0:
            self.journal.close()
            self._env.close()
            os.close(self._file)
            self._file = -1
            self._lock.release()


# ── opening ──────────────────────────────────────────────────────────────────────────────────


def open_environment(
    path: Path,
    *,
    new_epoch: Callable[[], Epoch],
    new_lock: Callable[[], AbstractContextManager[object]],
    map_size_bytes: int = DEFAULT_MAP_SIZE_BYTES,
    segment_bytes: int = SEGMENT_BYTES,
    create: bool = True,
) -> Environment:
    """The store at `path`, held by this process until `Environment.close`.

    One of an older format is upgraded first, in one transaction.

    `new_epoch` is asked when the store is made: for its epoch, and for the secret that the checks
    of its journal are keyed with. `new_lock` makes a plain mutex (or, where everything runs on one
    thread, nothing). Readers that died with another process are cleared.

    Raises:
        StorageError: one of the kinds in `storage.errors`, and nothing is left open.
    """
    if create:
        create_directory(path)
    elif not (path / DATA_FILE).exists():
        raise missing(path)
    lock = DirectoryLock(path)
    try:
        make_engine_file(path)
        env = open_engine(path, map_size_bytes)
        try:
            assert_durable(env)
            assert_whole(path, env)
            env.reader_check()
            sync_file(path / DATA_FILE)
            tables, epoch = _open_tables(path, env, new_epoch)
            sync_directory(path)
            with env.begin() as transaction:
                folded, key = read_folded(path, transaction, tables)
            found = find_unfolded(path, folded, key)
            return Environment(
                path,
                env,
                tables=tables,
                epoch=epoch,
                lock=lock,
                new_lock=new_lock,
                journal=Journal(path, key, folded.number, found, segment_bytes),
                unfolded=unfolded_rows(path, found),
                is_whole=folded.is_whole,
            )
        except BaseException:
            env.close()
            raise
    except lmdb.Error as error:
        lock.release()
        raise explain(path, error) from error
    except OSError as error:
        lock.release()
        raise unavailable(path, error) from error
    except BaseException:
        lock.release()
        raise


def find_unfolded(path: Path, folded: Folded, key: bytes) -> Found:
    """What the journal has and the tables have not.

    Raises:
        StoreCorruptError: what has been committed is not all there.
        OSError: a file cannot be read.
    """
    if folded.is_whole:
        return NOTHING_FOUND
    try:
        return find_frames(path, key, folded.number)
    except GapError:
        raise corrupt(path, "its journal lacks something that was committed") from None


def unfolded_rows(path: Path, found: Found) -> Unfolded:
    """The rows of those frames.

    Raises:
        StoreCorruptError: they are none of this version.
    """
    try:
        return Unfolded(_rows(found.current), _rows(found.other))
    except ValueError:
        raise corrupt(path, "its journal holds something that is no row") from None


def _rows(frames: Sequence[Frame]) -> Rows:
    rows = no_rows()
    for frame in frames:
        for table, new in decode_rows(frame.payload).items():
            rows[table].update(new)
    return rows


def _open_tables(
    path: Path, env: lmdb.Environment, new_epoch: Callable[[], Epoch]
) -> tuple[Tables, Epoch]:
    with env.begin() as transaction:
        is_new = transaction.stat()["entries"] == 0
    if is_new:
        return create_tables(env, new_epoch(), _journal_key(new_epoch))
    while True:
        try:
            # Tables opened by a transaction that does not commit are closed again with it.
            with env.begin(write=True) as transaction:
                tables = open_tables(path, env, transaction, UPGRADABLE | {FORMAT_VERSION})
                _bring_up_to_date(path, transaction, tables, new_epoch)
                return tables, read_epoch(path, transaction, tables)
        except lmdb.MapFullError:
            if not double_map(env):
                raise


def _bring_up_to_date(
    path: Path,
    transaction: lmdb.Transaction[bytes],
    tables: Tables,
    new_epoch: Callable[[], Epoch],
) -> None:
    """The store is of this version once `transaction` is committed."""
    meta = tables[b"meta"]
    version = int.from_bytes(transaction.get(META_FORMAT, db=meta) or b"", "big")
    if version == FORMAT_VERSION:
        if transaction.get(META_CHECK, db=meta) is None:
            put_check(transaction, tables)
        return
    if version == 1:
        try:
            upgrade(transaction, tables)
        except (ValueError, LookupError, struct.error):
            raise corrupt(path, "its rows contradict themselves") from None
    begin_journal(transaction, tables, _journal_key(new_epoch))
    put_check(transaction, tables)
    transaction.put(META_FORMAT, FORMAT_VERSION.to_bytes(2, "big"), db=meta)


def _journal_key(new_epoch: Callable[[], Epoch]) -> bytes:
    """32 bytes that nobody knows but who reads the store."""
    return blake2b(new_epoch().encode(), digest_size=32).digest()
