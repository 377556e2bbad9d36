"""`ksmp-relay revoke`: let someone in no more, whether the relay is running or not."""

from __future__ import annotations

import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter

from ksmp.types import DeviceId, TimeMs, UserId, is_identifier
from relay.commands.loading import load
from relay.exits import CommandError, ExitCode
from relay.revocation_file import RevokedSince, change_revocations, read_revocations
from relay.revocations import MAX_TOKEN_ID_LENGTH, Revocation
from relay.system import wall_clock


def revoke(
    user: str | None = None,
    /,
    *,
    device: str | None = None,
    jti: str | None = None,
    lift: Annotated[bool, Parameter(negative="")] = False,
    listing: Annotated[bool, Parameter(name="--list", negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
    data: Path | None = None,
    config: Path | None = None,
) -> int:
    """Refuse every token of a user, those of one device, or one token, from now until lifted.

    All that is given must fit. It is on disk when this returns; a running relay closes the
    connections concerned within seconds, and refuses new ones and fresh tokens. Tokens issued
    later are refused as well.

    Parameters
    ----------
    user
        Whose tokens.
    device
        Only those of this device.
    jti
        Only the one with this id.
    lift
        Take back exactly this revocation. Exits with 1 where there is no such.
    listing
        Show what is revoked.
    json
        With --list: print JSON.
    data
        The relay's data directory.
    config
        The TOML file that the relay runs with.
    """
    is_plain_list = user is None and device is None and jti is None and not lift
    if listing != (user is None) or (listing and not is_plain_list) or (json and not listing):
        raise _misused(
            "it takes either a user, with --device, --jti and --lift, or --list, with --json",
            "See `ksmp-relay revoke --help`.",
        )
    wanted = None if user is None else _revocation(user, device, jti)
    directory = _data_directory(load(config, data=data).store.path)
    if wanted is None:
        _print_all(read_revocations(directory), as_json=json)
        return ExitCode.OK
    return _lift(directory, wanted) if lift else _revoke(directory, wanted)


# ── changing ─────────────────────────────────────────────────────────────────────────────────


def _revoke(directory: Path, wanted: Revocation) -> int:
    def add(revoked: RevokedSince) -> bool:
        is_new = wanted not in revoked
        revoked.setdefault(wanted, wall_clock())
        return is_new

    is_new = change_revocations(directory, add)
    print(f"{'Revoked' if is_new else 'Revoked before'}: {_words(wanted)}.")
    return ExitCode.OK


def _lift(directory: Path, wanted: Revocation) -> int:
    others = 0

    def remove(revoked: RevokedSince) -> bool:
        nonlocal others
        was_there = revoked.pop(wanted, None) is not None
        others = sum(1 for revocation in revoked if revocation.user == wanted.user)
        return was_there

    was_there = change_revocations(directory, remove)
    print(f"{'Lifted' if was_there else 'There is no revocation of'}: {_words(wanted)}.")
    if others:
        print(f"Other revocations of this user are in force: {others}. See --list.")
    return ExitCode.OK if was_there else ExitCode.FAILED


def _revocation(user: str, device: str | None, jti: str | None) -> Revocation:
    """What the words name.

    Raises:
        CommandError: no token can hold them.
    """
    for name, what in ((user, "user"), (device, "device")):
        if name is not None and not is_identifier(name):
            raise _misused(
                f"a {what} id has 1 to 128 characters out of A-Z a-z 0-9 . _ ~ : @ + = / -",
                f"Check the {what} id.",
            )
    if jti is not None and not (0 < len(jti) <= MAX_TOKEN_ID_LENGTH and _is_text(jti)):
        raise _misused(
            f"a token id here has 1 to {MAX_TOKEN_ID_LENGTH} characters of UTF-8",
            "Check it, or revoke the device.",
        )
    return Revocation(UserId(user), None if device is None else DeviceId(device), jti)


def _is_text(words: str) -> bool:
    """Whether it was UTF-8 on the command line: other bytes come in as lone surrogates."""
    try:
        words.encode()
    except UnicodeEncodeError:
        return False
    return True


def _data_directory(path: Path) -> Path:
    """`path`, where a relay's store is: a revocation elsewhere would keep nobody out.

    Raises:
        CommandError: there is none.
    """
    if not (path / "store").is_dir():
        raise CommandError(
            ExitCode.IO,
            "Nothing was done",
            f"there is no relay's store in {path}",
            "Name the relay's data directory with --data, or its --config.",
        )
    return path


def _misused(why: str, what_to_do: str) -> CommandError:
    return CommandError(ExitCode.USAGE, "Nothing was done", why, what_to_do)


# ── saying ───────────────────────────────────────────────────────────────────────────────────


def _words(revocation: Revocation) -> str:
    """What it refuses, in the words that make it and lift it."""
    words = shlex.quote(revocation.user)
    if revocation.device is not None:
        words += f" --device {shlex.quote(revocation.device)}"
    if (jti := revocation.token_id) is not None:
        # An issuer's text may hold anything, a terminal's control characters included.
        words += f" --jti {shlex.quote(jti) if jti.isprintable() else ascii(jti)}"
    return words


def _print_all(revoked: RevokedSince, *, as_json: bool) -> None:
    if as_json:
        rows = [
            {
                "user": revocation.user,
                "device": revocation.device,
                "jti": revocation.token_id,
                "revokedAtMs": since,
            }
            for revocation, since in sorted(revoked.items(), key=_order)
        ]
        sys.stdout.buffer.write(msgspec.json.encode(rows) + b"\n")
        return
    for revocation, since in sorted(revoked.items(), key=_order):
        print(f"{_time(since)}  {_words(revocation)}")


def _order(item: tuple[Revocation, TimeMs]) -> tuple[TimeMs, str]:
    revocation, since = item
    return since, repr(revocation)


def _time(since: TimeMs) -> str:
    return datetime.fromtimestamp(since / 1_000, UTC).isoformat(timespec="seconds")
