"""The files of a store that must survive, read and written as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from storage.directory import LOCK_FILE

Files = dict[str, bytes]
"""By name."""

OF_NO_WORTH: Final = frozenset((LOCK_FILE, "lock.mdb"))
"""Files in the store's directory that hold nothing which must survive."""


def read_files(store: Path) -> Files:
    """What is there."""
    files = store.iterdir() if store.exists() else ()
    return {file.name: file.read_bytes() for file in files if file.name not in OF_NO_WORTH}


def write_files(store: Path, files: Files) -> None:
    """The store has exactly these, and perhaps some that are of no worth."""
    store.mkdir(mode=0o700, exist_ok=True)
    for file in store.iterdir():
        if file.name not in files and file.name not in OF_NO_WORTH:
            file.unlink()
    for name, content in files.items():
        (store / name).write_bytes(content)
