"""What a person reads when the relay starts: where it is, what is insecure, what to type next."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Final

from relay.admin.token import TOKEN_FILE
from relay.config import Config
from relay.memory import human, most_bytes

LABORATORY: Final = (
    "***************************************************************************",
    "*  THIS RELAY IS A LABORATORY, started with --lab. Whoever has the admin  *",
    "*  token can have it lose, delay or refuse messages, and can crash it.    *",
    "*  Never use it for real messages.                                        *",
    "***************************************************************************",
)


def url_of(config: Config, host: str, port: int) -> str:
    """Where clients connect."""
    scheme = "ws" if config.server.tls_certificate is None else "wss"
    return f"{scheme}://{_authority(host, port)}/ksmp/v3"


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def banner(config: Config, listening: Mapping[str, tuple[str, int]], program: str) -> str:
    """A few lines for the terminal, once connections are accepted."""
    return "\n".join(_lines(config, listening, program))


def _lines(config: Config, listening: Mapping[str, tuple[str, int]], program: str) -> Iterator[str]:
    data = config.store.path.absolute()  # to be typed in whatever directory
    if config.lab.enabled:
        yield from LABORATORY
    yield f"KSMP v3 relay, ready at {url_of(config, *listening['relay'])}"
    yield f"  data       {data}"
    if "admin" in listening:
        admin = _authority(*listening["admin"])
        yield f"  admin      http://{admin}, its token in {data / TOKEN_FILE}"
    yield (
        f"  memory     at most {human(most_bytes(config))}, if all"
        f" {config.limits.connections:,} connections did their worst at once"
    )
    if config.server.tls_certificate is None:
        yield "  insecure   there is no TLS: whoever sees the traffic sees the tokens"
    if config.auth.jwks_file is None:
        yield "  insecure   who reads the signing key in the data directory can be anyone"
    yield "Next, in another terminal:"
    yield f"  {program} token alice bob --data {shlex.quote(str(data))}"
    yield f"  {program} bench ordering --pairs 16 --in-flight 16 --size 300 --seconds 10"
