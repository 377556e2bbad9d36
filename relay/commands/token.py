"""`ksmp-relay token`: tokens for trying the relay out, and for setups without an issuer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

from ksmp.types import DeviceId, UserId, is_identifier
from relay.auth import DEFAULT_DEVICE
from relay.commands.loading import load
from relay.config import Config
from relay.exits import CommandError, ExitCode
from relay.keys import SIGNING_ALGORITHM, issue_token, load_or_create_signing_key
from relay.system import random_key, wall_clock

ONE_DAY_SECONDS = 86_400
TEN_YEARS_SECONDS = 315_360_000

_TTL = validators.Number(gte=1, lte=TEN_YEARS_SECONDS)


def token(
    user: str,
    /,
    *users: str,
    device: str = DEFAULT_DEVICE,
    ttl: Annotated[int, Parameter(validator=_TTL)] = ONE_DAY_SECONDS,
    data: Path | None = None,
    config: Path | None = None,
) -> None:
    """Print a token for each user, one a line, signed with the relay's own key.

    It needs the key and the configuration alone, and works while the relay runs. Whoever has a
    token is that user until it runs out.

    Parameters
    ----------
    user
        Whom the token speaks for.
    users
        More of them.
    device
        The device that the tokens are for.
    ttl
        Seconds until they run out.
    data
        The data directory, where the key is; it is made if there is none.
    config
        The TOML file that the relay runs with.
    """
    for name, what in ((device, "device"), *((each, "user") for each in (user, *users))):
        _check_identifier(name, what)
    loaded = load(config, data=data)
    _check_own_tokens_are_accepted(loaded)
    key = load_or_create_signing_key(loaded.store.path)
    for each in (user, *users):
        print(
            issue_token(
                key,
                user=UserId(each),
                device=DeviceId(device),
                audience=loaded.auth.audience,
                issuer=loaded.auth.issuer,
                issued_at=wall_clock() // 1_000,
                lifetime_seconds=ttl,
                token_id=random_key().hex(),
            )
        )


def _check_identifier(name: str, what: str) -> None:
    if not is_identifier(name):
        raise CommandError(
            ExitCode.USAGE,
            "No token was made",
            f"a {what} id has 1 to 128 characters out of A-Z a-z 0-9 . _ ~ : @ + = / -",
            f"Choose another {what} id.",
        )


def _check_own_tokens_are_accepted(config: Config) -> None:
    if SIGNING_ALGORITHM not in config.auth.algorithms:
        raise CommandError(
            ExitCode.CONFIGURATION,
            "No token was made",
            f"[auth] algorithms lacks {SIGNING_ALGORITHM}, so the relay would refuse its own",
            f"Add {SIGNING_ALGORITHM}, or take tokens from your issuer.",
        )
