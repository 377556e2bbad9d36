"""What can be wrong with a store, each said in three parts: what, why, and what to do.

    StorageError
     ├── StoreMissingError       there is no store at this path
     ├── StoreUnavailableError   the operating system refuses to create, open or lock it
     ├── StoreBusyError          another process has it open
     ├── StoreIncompatibleError  it was written by another engine or in another format version
     ├── StoreCorruptError       its content contradicts itself
     └── StoreFailedError        it broke while it was in use; the process must end

No message holds anything a client has chosen; paths are the operator's.
"""

from __future__ import annotations

import errno
from typing import Final

NO_SPACE: Final = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
"""What the operating system says where there is no room."""


class NoSpaceError(Exception):
    """The file system has no room for what a transaction may need. Nothing was committed."""


class StorageError(Exception):
    """The store cannot be used, and no retry inside this process will change that."""

    def __init__(self, what: str, why: str, what_to_do: str) -> None:
        super().__init__(f"{what}: {why}. {what_to_do}")
        self.what = what
        self.why = why
        self.what_to_do = what_to_do


class StoreMissingError(StorageError):
    """There is no store at the path."""


class StoreUnavailableError(StorageError):
    """The operating system refuses: permissions, a read-only disk, no space, not a directory."""


class StoreBusyError(StorageError):
    """Another process holds the store's lock."""


class StoreIncompatibleError(StorageError):
    """The files are sound perhaps, but not ones that this version reads."""


class StoreCorruptError(StorageError):
    """The files contradict themselves."""


class StoreFailedError(StorageError):
    """A transaction failed in a way that leaves unknown what is on disk."""
