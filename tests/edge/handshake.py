"""Rows: requests that are no sound HTTP, or too large, and the one answer each of them gets."""

from __future__ import annotations

from typing import Final

from tests.edge.case import Case
from tests.edge.relays import CANARY
from tests.edge.requests import (
    TARGET,
    accept,
    accept_sized,
    refuse,
    refuse_bytes,
    refuse_replaced,
    refuse_sized,
)
from tests.wire.raw import TEXT, frame

KEY: Final = b"AAECAwQFBgcICQoLDA0ODw=="
"""The key of a good handshake."""

ELSEWHERE: Final = f"https://{CANARY}.example".encode()
MAX_HEAD_BYTES: Final = 16_384
MAX_HEADERS: Final = 100
GOOD_HEADERS: Final = 8
"""How many a handshake of a row has, the canary and the token included."""

HELLO: Final = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)) * 2
"""How a client begins TLS."""

LINES: Final = [
    refuse("HTTP/1.0", "bad_request", version=b"HTTP/1.0"),
    refuse("HTTP/1.2", "bad_request", version=b"HTTP/1.2"),
    refuse("HTTP/2 with prior knowledge", "bad_request", method=b"PRI", version=b"HTTP/2.0"),
    refuse("http/1.1 in lower case", "bad_request", version=b"http/1.1"),
    refuse("no HTTP version", "bad_request", version=b""),
    refuse("two spaces in the request line", "bad_request", method=b"GET "),
    refuse("a line break in the target", "bad_request", target=TARGET + b"\r\n"),
    refuse("a non-ASCII byte in the target", "bad_request", target=TARGET + b"\xe9"),
    refuse("a non-ASCII byte in the method", "bad_request", method=b"G\xcaT"),
    refuse_bytes("empty lines", "bad_request", b"\r\n\r\n"),
    refuse_bytes("binary garbage", "bad_request", b"\x00\x01\x02\xff\r\n\r\n"),
    refuse_bytes("a frame instead of a request", "bad_request", frame(TEXT, b"{}") + b"\r\n\r\n"),
    refuse_bytes("TLS to a relay that speaks in the clear", "bad_request", HELLO),
]

HOSTS: Final = [
    refuse("no Host", "bad_request", without=(b"Host",)),
    refuse("two Hosts", "bad_request", extra=[(b"Host", b"elsewhere.example")]),
    refuse_replaced("an empty Host", "bad_request", b"Host", b""),
    refuse_replaced("a Host with a user", "bad_request", b"Host", b"me@relay.example"),
    refuse_replaced("a Host with a path", "bad_request", b"Host", b"relay.example/ksmp"),
    refuse_replaced(
        "a list of Hosts in one header", "bad_request", b"Host", b"a.example,b.example"
    ),
]

HEADERS: Final = [
    refuse("a header line without a colon", "bad_request", extra=[(b"X\r\nno-colon\r\nY", b"z")]),
    refuse("a space in a header's name", "bad_request", extra=[(b"Bad Name", b"x")]),
    refuse("a space before the colon", "bad_request", extra=[(b"X-Space ", b"x")]),
    refuse("an empty header name", "bad_request", extra=[(b"", b"x")]),
    refuse("a non-ASCII byte in a header's name", "bad_request", extra=[(b"X-\xe9", b"x")]),
    refuse("a NUL in a header", "bad_request", extra=[(b"X-Nul", b"a\x00b")]),
    refuse("a bare CR in a header", "bad_request", extra=[(b"X-Cr", b"a\rb")]),
    refuse("an escape sequence in a header", "bad_request", extra=[(b"X-Esc", b"\x1b[31m")]),
    refuse("two Origins", "bad_request", extra=[(b"Origin", ELSEWHERE)] * 2),
]

NON_ASCII: Final = [
    refuse(
        f"a non-ASCII byte in {name.decode()}",
        "bad_request",
        without=(name,),
        extra=[(name, value + b"\xe9")],
    )
    for name, value in (
        (b"Host", b"127.0.0.1"),
        (b"Connection", b"Upgrade, "),
        (b"Upgrade", b"websocket, "),
        (b"Sec-WebSocket-Key", KEY),
        (b"Sec-WebSocket-Version", b"13"),
        (b"Sec-WebSocket-Protocol", b"ksmpv3.json, "),
        (b"Sec-WebSocket-Extensions", b"permessage-deflate"),
        (b"Origin", b"http://127.0.0.1"),
        (b"Authorization", b"Bearer "),
        (b"Cookie", b"a="),
        (b"X-Forwarded-For", b"192.0.2.1"),
    )
]

BODIES: Final = [
    refuse("a body", "bad_request", extra=[(b"Content-Length", b"6")], behind=CANARY[:6].encode()),
    refuse("a body that does not come", "bad_request", extra=[(b"Content-Length", b"6")]),
    refuse(
        "a chunked body",
        "bad_request",
        extra=[(b"Transfer-Encoding", b"chunked")],
        behind=b"0\r\n\r\n",
    ),
    refuse(
        "a body with two lengths",
        "bad_request",
        extra=[(b"Content-Length", b"6"), (b"Content-Length", b"0")],
    ),
    refuse(
        "a body both chunked and of a length",
        "bad_request",
        extra=[(b"Content-Length", b"5"), (b"Transfer-Encoding", b"chunked")],
        behind=b"0\r\n\r\n",
    ),
    refuse("a negative length", "bad_request", extra=[(b"Content-Length", b"-1")]),
    refuse("a length that is no number", "bad_request", extra=[(b"Content-Length", b"0x0")]),
    accept("a body of no bytes", extra=[(b"Content-Length", b"0")]),
]

SIZES: Final = [
    refuse("a header of 40 KB", "headers_too_large", extra=[(b"X-Long", b"x" * 40_000)]),
    refuse(
        "a token of 40 KB",
        "headers_too_large",
        has_token=False,
        extra=[(b"Authorization", b"Bearer " + b"e" * 40_000)],
    ),
    refuse("900 headers", "headers_too_large", extra=[(b"X-Many", b"x")] * 900),
    refuse("101 headers", "headers_too_large", extra=[(b"X-Many", b"x")] * (101 - GOOD_HEADERS)),
    accept("100 headers", extra=[(b"X-Many", b"x")] * (MAX_HEADERS - GOOD_HEADERS)),
    refuse_sized("a head of 16,385 bytes", "headers_too_large", MAX_HEAD_BYTES + 1),
    accept_sized("a head of 16,384 bytes", MAX_HEAD_BYTES),
]

CASES: Final[list[Case]] = [*LINES, *HOSTS, *HEADERS, *NON_ASCII, *BODIES, *SIZES]
