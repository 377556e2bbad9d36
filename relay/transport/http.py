"""The request before the upgrade, read by h11, and the answers that refuse it.

No I/O. What is judged here is HTTP alone (protocol section 2): `headers_too_large` as it arises,
then `bad_request` for a request line, headers or body that no valid handshake has. What the
request asks for is judged in `relay.transport.handshake`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import h11

from ksmp.codec import JSON
from ksmp.errors import REGISTRY, error

MAX_HEAD_BYTES: Final = 16_384
MAX_HEADERS: Final = 100

_SINGLE = ("content-length", "host", "origin", "sec-websocket-key", "sec-websocket-version")
_END_OF_HEAD: Final = re.compile(rb"\n\r?\n")  # as h11 has it
_PRINTABLE: Final = bytes((0x09, *range(0x20, 0x7F)))
_HOST_CHARACTERS: Final = frozenset(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~%:[]"
)


class HandshakeRefusedError(Exception):
    """The handshake ends with the HTTP answer of a code in `ksmp.errors.REGISTRY`."""

    def __init__(self, code: str, *, retry_after_ms: int = 1_000) -> None:
        super().__init__(code)
        self.code = code
        self.retry_after_ms = retry_after_ms


@dataclass(frozen=True, slots=True)
class Request:
    """A request whose HTTP is sound: version 1.1, one Host, no body, nothing but printable ASCII.

    Header names are in lower case.
    """

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]

    def values(self, name: str) -> list[str]:
        """The values of every header of this name, in order."""
        return [value for header, value in self.headers if header == name]

    def items(self, name: str) -> list[str]:
        """The comma-separated items of those values; empty ones are dropped (RFC 9110 5.6.1)."""
        stripped = (item.strip() for value in self.values(name) for item in value.split(","))
        return [item for item in stripped if item]


class RequestReader:
    """Reads one request's head out of whatever pieces it arrives in, and not a byte more."""

    def __init__(self) -> None:
        self._connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
        self._room = MAX_HEAD_BYTES
        self._beyond = b""  # what came in the last chunk and would not have fitted into a head

    @property
    def rest(self) -> bytes:
        """What came behind the head."""
        return self._connection.trailing_data[0] + self._beyond

    def receive(self, chunk: bytes | bytearray) -> Request | None:
        """The request, once it is complete. An empty chunk says that no more will come.

        The answer is the same however the bytes are cut: a head that does not end within
        `MAX_HEAD_BYTES` is never parsed, whatever else is wrong with it.

        Raises:
            HandshakeRefusedError: `headers_too_large` or `bad_request`.
        """
        if chunk and not self._room:
            raise HandshakeRefusedError("headers_too_large")
        fitting, self._beyond = bytes(chunk[: self._room]), bytes(chunk[self._room :])
        self._room -= len(fitting)
        try:
            self._connection.receive_data(fitting)
            if b"\n" in fitting and _has_too_many_headers(self._connection.trailing_data[0]):
                raise HandshakeRefusedError("headers_too_large")
            event = self._connection.next_event()
        except h11.RemoteProtocolError:
            raise HandshakeRefusedError("bad_request") from None
        if isinstance(event, h11.Request):
            return _sound(event)
        if self._beyond:
            raise HandshakeRefusedError("headers_too_large")
        return None


def _has_too_many_headers(received: bytes) -> bool:
    """Whether the head, if it is complete, has: counted before any of them is looked at.

    But for one that h11 refuses at its first byte, whatever follows.
    """
    end = _END_OF_HEAD.search(received)
    is_refused = received[:1] <= b" "
    return (
        end is not None and not is_refused and received.count(b"\n", 0, end.start()) > MAX_HEADERS
    )


def _sound(event: h11.Request) -> Request:
    """The request, or `bad_request`."""
    if event.http_version != b"1.1":
        raise HandshakeRefusedError("bad_request")
    if any(value.translate(None, _PRINTABLE) for _, value in event.headers):
        raise HandshakeRefusedError("bad_request")
    request = Request(
        event.method.decode("ascii"),
        event.target.decode("ascii"),
        tuple((name.decode("ascii"), value.decode("ascii")) for name, value in event.headers),
    )
    if any(len(request.values(name)) > 1 for name in _SINGLE):
        raise HandshakeRefusedError("bad_request")
    (host,) = request.values("host")
    if not host or not _HOST_CHARACTERS.issuperset(host):
        raise HandshakeRefusedError("bad_request")
    has_body = request.values("transfer-encoding") or request.values("content-length") not in (
        [],
        ["0"],
    )
    if has_body:
        raise HandshakeRefusedError("bad_request")
    return request


def refusal(refused: HandshakeRefusedError) -> bytes:
    """The whole HTTP answer: status, headers, and the code's `ksmpv3.error` as JSON."""
    status = HTTPStatus(REGISTRY[refused.code].http_status)
    body = JSON.encode(error(refused.code, retry_after_ms=refused.retry_after_ms))
    headers = [
        ("Connection", "close"),
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-store"),
        *_EXTRA_HEADERS.get(status, ()),
    ]
    if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        # Whole seconds, and never sooner than the body says.
        headers.append(("Retry-After", str(-(-refused.retry_after_ms // 1_000))))
    lines = [f"HTTP/1.1 {status.value} {status.phrase}"]
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join((*lines, "", "")).encode("ascii") + body


_EXTRA_HEADERS: Final[dict[HTTPStatus, tuple[tuple[str, str], ...]]] = {
    HTTPStatus.UNAUTHORIZED: (("WWW-Authenticate", "Bearer"),),
    HTTPStatus.METHOD_NOT_ALLOWED: (("Allow", "GET"),),
    HTTPStatus.UPGRADE_REQUIRED: (("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")),
}
