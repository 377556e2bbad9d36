"""The revocations in the data directory: one file, never half written, never believed if damaged.

    revocations.json    line 1     {"format": 1, "sha256": of everything behind this line}
                        then       {"user": …, "device": …, "jti": …, "revokedAtMs": …}

It lies beside the store and not in it, because the store belongs to the running relay alone. A
change is made under a lock on the directory, to a copy that is synced and then takes the file's
place, so that two commands at once lose nothing and a reader sees the old file or the new one. A
line per revocation, so that a long file is decoded in many short steps, between which a relay that
reads it does other work.
"""

from __future__ import annotations

import fcntl
import io
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple

from msgspec import DecodeError, Struct, json

from ksmp.types import DeviceId, TimeMs, UserId
from relay.exits import CommandError, ExitCode
from relay.revocations import Revocation
from storage.directory import sync_directory

REVOCATIONS_FILE: Final = "revocations.json"
FORMAT: Final = 1

RevokedSince = dict[Revocation, TimeMs]
"""Every revocation, and when it was made."""


class Stamp(NamedTuple):
    """Differs between any two versions of the file."""

    inode: int
    modified_ns: int
    changed_ns: int
    size: int


class _Header(Struct, forbid_unknown_fields=True):
    format: int
    sha256: str


class _Line(Struct, forbid_unknown_fields=True, omit_defaults=True, rename="camel"):
    user: str
    device: str | None = None
    jti: str | None = None
    revoked_at_ms: int = 0


def stamp_of(directory: Path) -> Stamp | None:
    """Which version of the file is there; None where there is none.

    Raises:
        CommandError: the operating system does not say.
    """
    try:
        found = (directory / REVOCATIONS_FILE).stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(directory, error) from None
    return Stamp(found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size)


# ── reading ──────────────────────────────────────────────────────────────────────────────────


def read_revocations(directory: Path) -> RevokedSince:
    """All that is revoked; nothing where there is no file.

    Raises:
        CommandError: the file cannot be read, or is damaged.
    """
    try:
        # Whatever else may be in its place must not keep the reader waiting.
        descriptor = os.open(directory / REVOCATIONS_FILE, os.O_RDONLY | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            content = file.read()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise _unreadable(directory, error) from None
    try:
        return _decoded(content)
    except (DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _damaged(directory, "it is not what `ksmp-relay revoke` writes") from error


def _decoded(content: bytes) -> RevokedSince:
    lines = io.BytesIO(content)
    header = json.decode(lines.readline(), type=_Header)
    if header.format != FORMAT or header.sha256 != sha256(content[lines.tell() :]).hexdigest():
        raise DecodeError
    decoder = json.Decoder(_Line)
    found: RevokedSince = {}
    for text in lines:
        line = decoder.decode(text)
        device = None if line.device is None else DeviceId(line.device)
        found[Revocation(UserId(line.user), device, line.jti)] = TimeMs(line.revoked_at_ms)
    return found


# ── changing ─────────────────────────────────────────────────────────────────────────────────


def change_revocations(directory: Path, change: Callable[[RevokedSince], bool]) -> bool:
    """Let `change` alter what is revoked; on disk, synced, when this returns. What it returned.

    Nothing is written where it returns False.

    Raises:
        CommandError: the file is damaged, and was left as it is; or it cannot be written.
    """
    with _locked(directory):
        revoked = read_revocations(directory)
        has_changed = change(revoked)
        if has_changed:
            try:
                _replace(directory, _encoded(revoked))
            except OSError as error:
                raise CommandError(
                    ExitCode.CANNOT_CREATE,
                    f"{directory / REVOCATIONS_FILE} was not changed",
                    error.strerror or type(error).__name__,
                    "Check the directory, its owner, its permissions and the disk.",
                ) from None
    return has_changed


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Nobody else changes the file meanwhile. The kernel gives the lock back, whatever happens."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError:
            os.close(descriptor)
            raise
    except OSError as error:
        raise _unreadable(directory, error) from None
    try:
        yield
    finally:
        os.close(descriptor)


def _encoded(revoked: Mapping[Revocation, TimeMs]) -> bytes:
    lines = b"".join(
        json.encode(_Line(*revocation, since)) + b"\n" for revocation, since in revoked.items()
    )
    return json.encode(_Header(FORMAT, sha256(lines).hexdigest())) + b"\n" + lines


def _replace(directory: Path, content: bytes) -> None:
    """The new content under the old name, both synced, and the relay's to read."""
    fresh = directory / f".{REVOCATIONS_FILE}.new"  # one name: the lock is held
    descriptor = os.open(
        fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
    )
    with os.fdopen(descriptor, "wb") as file:
        owner = directory.stat()
        if owner.st_uid != os.geteuid():  # whoever administrates the machine revokes for the relay
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    fresh.replace(directory / REVOCATIONS_FILE)
    sync_directory(directory)


# ── what can be wrong with it ────────────────────────────────────────────────────────────────


def missing(directory: Path) -> CommandError:
    """The file was there and has gone: nobody has lifted what it held."""
    return _damaged(directory, "it was there and has gone")


def _damaged(directory: Path, why: str) -> CommandError:
    return CommandError(
        ExitCode.CONFIGURATION,
        f"The revocations in {directory / REVOCATIONS_FILE} cannot be used",
        f"{why}, and without it people who were revoked would be let in",
        "Restore it from a backup; or delete it, and revoke again whom it should name.",
    )


def _unreadable(directory: Path, error: OSError) -> CommandError:
    return CommandError(
        ExitCode.CONFIGURATION,
        f"The revocations in {directory} cannot be read",
        error.strerror or type(error).__name__,
        "Check the directory, its owner and its permissions.",
    )
