"""The directory a store lives in: made durably, private, and held by one process at a time.

    <path>/data.mdb     the store              written by LMDB
    <path>/lock.mdb     its readers' table     of this machine and this boot; never worth copying
    <path>/store.lock   an empty file, locked with flock(2) while a process has the store open

The lock is on the open file, so the kernel releases it when the process ends, however it ends.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Final

from storage.errors import StoreBusyError, StoreMissingError, StoreUnavailableError

DATA_FILE: Final = "data.mdb"
LOCK_FILE: Final = "store.lock"

DIRECTORY_MODE: Final = 0o700
FILE_MODE: Final = 0o600


class DirectoryLock:
    """Holds the store at `path` until `release`, or until the process ends."""

    def __init__(self, path: Path, *, shared: bool = False, create: bool = True) -> None:
        """Take the lock at once or not at all.

        `shared` lets other shared holders in: those that only read while nobody writes.
        Without `create`, a store that has no lock file (a copy) is taken as held by nobody.

        Raises:
            StoreBusyError: another process holds it.
            StoreUnavailableError: the operating system refuses.
        """
        self._file = self._open(path / LOCK_FILE, create)
        if self._file is None:
            return
        try:
            fcntl.flock(self._file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except OSError as error:
            self.release()
            if not isinstance(error, BlockingIOError):
                raise unavailable(path, error) from error
            raise StoreBusyError(
                f"the store {path} is in use",
                "another process holds its lock",
                "Stop the relay that runs on it, or choose another directory.",
            ) from None

    @staticmethod
    def _open(file: Path, create: bool) -> int | None:
        flags = (os.O_RDWR | os.O_CREAT) if create else os.O_RDONLY
        try:
            return os.open(file, flags | os.O_CLOEXEC, FILE_MODE)
        except FileNotFoundError:
            if create:
                raise
            return None
        except OSError as error:
            raise unavailable(file.parent, error) from error

    def release(self) -> None:
        """Let others in. A second call changes nothing."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def create_directory(path: Path) -> None:
    """`path` is there, private if it was made here, and its name survives a power loss.

    Raises:
        StoreUnavailableError: the operating system refuses.
    """
    missing = [one for one in (path, *path.parents) if not one.exists()]
    try:
        for directory in reversed(missing):
            directory.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
            sync_directory(directory.parent)
    except OSError as error:
        raise unavailable(path, error) from error
    if not path.is_dir():
        raise StoreUnavailableError(
            f"the store {path} cannot be opened",
            "there is a file where its directory should be",
            "Move it away, or choose another directory.",
        )


def sync_directory(path: Path) -> None:
    """The names in `path` are on disk: a file synced under a name that is lost would be lost."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def sync_file(path: Path) -> None:
    """What is read from the file is on disk, also what a killed process had written."""
    file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def missing(path: Path) -> StoreMissingError:
    """What to raise where a store is asked for and none is made."""
    return StoreMissingError(
        f"there is no store in {path}",
        f"it has no file {DATA_FILE}",
        "Check the path; the relay makes a store when it first starts.",
    )


def unavailable(path: Path, error: OSError) -> StoreUnavailableError:
    """What to raise where the operating system refuses."""
    return StoreUnavailableError(
        f"the store {path} cannot be opened",
        os.strerror(error.errno) if error.errno else type(error).__name__,
        "Check the path, its owner, its permissions and the disk.",
    )
