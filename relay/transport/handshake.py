"""The judgement of one upgrade request, in the order of protocol section 2.

    408 and 431 arise while the request is read    relay.transport.front, relay.transport.http
    400 request line, headers, query               relay.transport.http, then here
    404 → 405 → 426 → 403 → 400 subprotocol        here
    401                                            relay.auth
    429, 503                                       the relay's own admission

So a request that is wrong in two ways always gets the same answer, and no judgement that costs
anything is made of one that fails a cheap one.
"""

from __future__ import annotations

import binascii
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from websockets.utils import accept_key

from ksmp.codec import CODECS, JSON, Codec
from relay.transport.http import HandshakeRefusedError, Request

PATH: Final = "/ksmp/v3"
WEBSOCKET_VERSION: Final = "13"
BEARER_ITEM: Final = "ksmpv3.bearer."
"""How a browser, which cannot set headers, sends its token: as an offered subprotocol."""

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Upgrade:
    """An upgrade that only lacks authentication and admission.

    `token` is None unless exactly one credential came. `subprotocol` is what to echo.
    `forwarded_for` is whatever `X-Forwarded-For` says, in order.
    """

    key: str
    codec: Codec
    subprotocol: str | None
    token: str | None
    forwarded_for: tuple[str, ...] = ()


class Judge:
    """Decides about upgrade requests. Holds the rules, and nothing of any request."""

    def __init__(self, *, allowed_origins: frozenset[str], is_secure: bool) -> None:
        """An empty list allows a page's own origin: that of the `Host` it asks.

        `is_secure` says that TLS ends here, so that a page got without it is foreign.
        """
        self._allowed_origins = frozenset(origin.lower() for origin in allowed_origins)
        self._is_secure = is_secure

    def judge(self, request: Request) -> Upgrade:
        """The upgrade asked for.

        Raises:
            HandshakeRefusedError: with the first code that applies.
        """
        key = _key_of(request)
        if "?" in request.target or "#" in request.target:
            raise HandshakeRefusedError("bad_request")
        if request.target != PATH:
            raise HandshakeRefusedError("not_found")
        if request.method != "GET":
            raise HandshakeRefusedError("method_not_allowed")
        if key is None or request.values("sec-websocket-version") != [WEBSOCKET_VERSION]:
            raise HandshakeRefusedError("upgrade_required")
        if not self._allows_origin(request):
            raise HandshakeRefusedError("forbidden_origin")
        codec, subprotocol = _negotiate(request)
        forwarded_for = tuple(request.items("x-forwarded-for"))
        return Upgrade(key, codec, subprotocol, _token_of(request), forwarded_for)

    def _allows_origin(self, request: Request) -> bool:
        origins = request.values("origin")
        if not origins:
            return True  # not a browser
        origin = origins[0].lower()
        if self._allowed_origins:
            return origin in self._allowed_origins
        (host,) = request.values("host")
        return self._is_own_origin(origin, host.lower())

    def _is_own_origin(self, origin: str, host: str) -> bool:
        """Whether `origin` names the same host and port as `host`.

        Where neither names a port, both mean the default of the origin's scheme: behind a proxy
        that ends TLS, the relay could not know better.
        """
        try:
            asking, asked = urlsplit(origin), urlsplit(f"//{host}")
            default_port = _DEFAULT_PORTS.get(asking.scheme)
            if default_port is None or origin != f"{asking.scheme}://{asking.netloc}":
                return False
            if asking.username is not None:
                return False
            if self._is_secure and asking.scheme != "https":
                return False
            ports = (asking.port or default_port, asked.port or default_port)
        except ValueError:
            return False  # a port that is none
        same_host = asking.hostname is not None and asking.hostname == asked.hostname
        return same_host and ports[0] == ports[1]


def acceptance(upgrade: Upgrade) -> bytes:
    """The answer that turns the connection into a WebSocket. No extension is ever accepted."""
    lines = [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {accept_key(upgrade.key)}",
    ]
    if upgrade.subprotocol is not None:
        lines.append(f"Sec-WebSocket-Protocol: {upgrade.subprotocol}")
    return "\r\n".join((*lines, "", "")).encode("ascii")


def _key_of(request: Request) -> str | None:
    """The valid key of an upgrade request; None where no upgrade to a WebSocket is asked for."""
    keys = request.values("sec-websocket-key")
    if keys and not _is_key(keys[0]):
        raise HandshakeRefusedError("bad_request")
    connection = {item.lower() for item in request.items("connection")}
    upgrade = {item.lower() for item in request.items("upgrade")}
    if "upgrade" not in connection or "websocket" not in upgrade:
        return None
    if not keys:
        raise HandshakeRefusedError("bad_request")
    return keys[0]


def _is_key(key: str) -> bool:
    """Whether `key` is the base64 of 16 bytes (RFC 6455 section 4.2.1)."""
    try:
        return len(key) == 24 and len(binascii.a2b_base64(key, strict_mode=True)) == 16
    except binascii.Error:
        return False


def _negotiate(request: Request) -> tuple[Codec, str | None]:
    """The first offered subprotocol that is known; where none is offered, JSON and no echo."""
    if not request.values("sec-websocket-protocol"):
        return JSON, None
    for offered in request.items("sec-websocket-protocol"):
        if offered in CODECS:
            return CODECS[offered], offered
    raise HandshakeRefusedError("bad_request")


def _token_of(request: Request) -> str | None:
    """The one credential of the request; None for none, for two, or for another scheme."""
    tokens: list[str] = []
    for value in request.values("authorization"):
        scheme, _, token = value.partition(" ")
        tokens.append(token.strip() if scheme.lower() == "bearer" else "")
    tokens += (
        item.removeprefix(BEARER_ITEM)
        for item in request.items("sec-websocket-protocol")
        if item.startswith(BEARER_ITEM)
    )
    return tokens[0] if len(tokens) == 1 else None
