"""The token that an operator shows to the admin listener: a file in the data directory."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from relay.keys import KeyFileError
from relay.secret_files import create_secret, read_secret

TOKEN_FILE: Final = "admin-token"  # noqa: S105 - its name

_TOKEN: Final = re.compile(rb"[A-Za-z0-9_.~+/=-]{16,256}")


def load_or_create_token(directory: Path, new_token: Callable[[], str]) -> bytes:
    """The token, the same at every start, made at the first.

    Raises:
        KeyFileError: the file is unreadable, readable by others, or holds no token.
    """
    path = directory / TOKEN_FILE
    try:
        if not path.exists():
            create_secret(path, f"{new_token()}\n".encode())
        content, open_mode = read_secret(path)
    except OSError as error:
        raise KeyFileError(
            f"The admin token {path} cannot be read or written.",
            f"The operating system says: {error.strerror}.",
            "Check the owner and the permissions of the directory.",
        ) from None
    if open_mode is not None:
        raise KeyFileError(
            f"The admin token {path} is accessible to other users (mode {open_mode:04o}).",
            "Whoever reads it can see what the relay does, and end quarantines.",
            f"If nobody has: chmod 600 {path}. If in doubt: delete it, to have another made.",
        )
    token = content.strip()
    if _TOKEN.fullmatch(token) is None:
        raise KeyFileError(
            f"The admin token {path} is not one.",
            "It has 16 to 256 letters, digits and signs such as - and _.",
            "Delete it to have a new one made.",
        )
    return token
