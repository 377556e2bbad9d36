"""Files that hold a secret of the relay: theirs alone who own the data directory."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from storage.directory import sync_directory


def create_secret(path: Path, content: bytes) -> None:
    """`path` exists, whole and on disk, with mode 0600; where it exists already, as it is.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:  # mkstemp has made it with mode 0600
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)
    except FileExistsError:
        pass  # another process was first: its secret is the secret
    finally:
        Path(temporary).unlink()
    sync_directory(path.parent)


def read_secret(path: Path) -> tuple[bytes, int | None]:
    """The content of `path`, and its mode where others than its owner have any access to it.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        return file.read(), mode if mode & 0o077 else None
