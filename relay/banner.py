"""What a person reads when the relay starts: where it is, what is insecure, what to type next."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from relay.config import Config
from relay.memory import human, most_bytes


def url_of(config: Config, host: str, port: int) -> str:
    """Where clients connect."""
    scheme = "ws" if config.server.tls_certificate is None else "wss"
    address = f"[{host}]" if ":" in host else host
    return f"{scheme}://{address}:{port}/ksmp/v3"


def banner(config: Config, host: str, port: int, program: str) -> str:
    """A few lines for the terminal, once connections are accepted."""
    return "\n".join(_lines(config, url_of(config, host, port), program))


def _lines(config: Config, url: str, program: str) -> Iterator[str]:
    data = config.store.path.absolute()  # to be typed in whatever directory
    yield f"KSMP v3 relay, ready at {url}"
    yield f"  data       {data}"
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
