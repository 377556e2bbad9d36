"""Files of a result: all of one or nothing, and JSON that people can read."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
from msgspec import Struct

from storage.directory import sync_directory


def readable(value: Struct) -> bytes:
    """As JSON, a line for each field."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def write_whole(path: Path, content: bytes) -> None:
    """All of it or nothing, on disk when this returns.

    Raises:
        OSError: it cannot be written.
    """
    fresh = path.with_name(f".{path.name}.new")
    with fresh.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    sync_directory(path.parent)
