"""A socket and bytes made by hand: requests and frames that no client library would send."""

from __future__ import annotations

import socket
from contextlib import suppress
from types import TracebackType
from typing import Final, NamedTuple, Self

from tests.wire.codecs import JSON, Codec, Event, RawFrame

TIMEOUT_SECONDS: Final = 10.0

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA

ENDED: Final = 1006
"""RFC 6455 section 7.4.1: what a client reports when the line ended without a close frame."""

# Any mask will do: a relay that depended on it would be at fault.
_MASK = bytes.fromhex("37fa213d")
_MASK_TABLES = [bytes(byte ^ mask for byte in range(256)) for mask in _MASK]

Headers = list[tuple[bytes, bytes]]


class Response(NamedTuple):
    """An HTTP answer. Header names are lower case; `raw` is all of it."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes
    raw: bytes


class RawFrameParts(NamedTuple):
    """A WebSocket frame as it came."""

    first_byte: int
    payload: bytes

    @property
    def opcode(self) -> int:
        """Its kind."""
        return self.first_byte & 0x0F


class RawSocket:
    """A TCP connection whose every read has a deadline."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._socket = socket.create_connection(address, TIMEOUT_SECONDS)
        self._received = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._socket.close()

    def send(self, *chunks: bytes) -> None:
        """Write bytes. That the relay has hung up meanwhile shows in what is read."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self._socket.sendall(b"".join(chunks))

    def response(self) -> Response:
        """The HTTP answer, its body as long as it says."""
        while b"\r\n\r\n" not in self._received:
            assert self._read_more(), "the connection ended without an answer"
        head, _, _ = self._received.partition(b"\r\n\r\n")
        status_line, *lines = head.split(b"\r\n")
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(b":") for line in lines)
        }
        length = len(head) + 4 + int(headers.get(b"content-length", b"0"))
        while len(self._received) < length:
            assert self._read_more(), "the connection ended within the body"
        raw, self._received = self._received[:length], self._received[length:]
        return Response(int(status_line.split(b" ")[1]), headers, raw[len(head) + 4 :], raw)

    def frame(self) -> RawFrameParts | None:
        """The next frame, which must not be masked; None at the end of the line."""
        if not self._read_until(2):
            return None
        first_byte, length = self._received[0], self._received[1]
        extended = {126: 2, 127: 8}.get(length, 0)
        if not self._read_until(2 + extended):
            return None
        if extended:
            length = int.from_bytes(self._received[2 : 2 + extended], "big")
        end = 2 + extended + length
        if not self._read_until(end):
            return None
        payload, self._received = self._received[2 + extended : end], self._received[end:]
        return RawFrameParts(first_byte, payload)

    def event(self, codec: Codec = JSON) -> Event:
        """The next message's event."""
        return codec.decode(self.message())

    def message(self) -> RawFrame:
        """The next message; pings of the relay are passed over."""
        while (frame := self.frame()) is not None and frame.opcode == PING:
            pass
        assert frame is not None, "the connection ended"
        assert frame.opcode in (TEXT, BINARY), frame
        return frame.payload.decode() if frame.opcode == TEXT else frame.payload

    def events_until_close(self, codec: Codec = JSON) -> tuple[list[Event], int]:
        """Every event that still comes, and the code of the close (`ENDED`: there was none)."""
        events: list[Event] = []
        while (frame := self.frame()) is not None and frame.opcode != CLOSE:
            if frame.opcode in (TEXT, BINARY):
                text = frame.opcode == TEXT
                events.append(codec.decode(frame.payload.decode() if text else frame.payload))
        if frame is None:
            return events, ENDED
        return events, int.from_bytes(frame.payload[:2], "big") if frame.payload else 1005

    def close_code(self, codec: Codec = JSON) -> int:
        """The code of the close; what comes before it is dropped."""
        return self.events_until_close(codec)[1]

    def is_at_end(self) -> bool:
        """Whether the relay ends the line without another byte (this waits for it)."""
        return not self._received and not self._read_more()

    def _read_until(self, length: int) -> bool:
        while len(self._received) < length:
            if not self._read_more():
                return False
        return True

    def _read_more(self) -> bool:
        try:
            chunk = self._socket.recv(65536)
        except ConnectionResetError:
            return False
        self._received += chunk
        return bool(chunk)


def request(
    host: bytes,
    *,
    token: str | None = None,
    codec: Codec = JSON,
    line: bytes = b"GET /ksmp/v3 HTTP/1.1",
    without: tuple[bytes, ...] = (),
    extra: Headers | None = None,
) -> bytes:
    """A good handshake, but for its first line, headers left out, and headers added."""
    headers = [
        (b"Host", host),
        (b"Connection", b"Upgrade"),
        (b"Upgrade", b"websocket"),
        (b"Sec-WebSocket-Version", b"13"),
        (b"Sec-WebSocket-Key", b"AAECAwQFBgcICQoLDA0ODw=="),
        (b"Sec-WebSocket-Protocol", codec.subprotocol.encode()),
    ]
    if token is not None:
        headers.append((b"Authorization", b"Bearer " + token.encode()))
    kept = [header for header in headers if header[0] not in without] + (extra or [])
    return b"\r\n".join([line, *(name + b": " + value for name, value in kept), b"", b""])


def upgraded(address: tuple[str, int], token: str, codec: Codec = JSON) -> RawSocket:
    """A socket past the handshake and past `ksmpv3.connected`."""
    raw = RawSocket(address)
    try:
        raw.send(request(host_of(address), token=token, codec=codec))
        response = raw.response()
        assert response.status == 101, response
        assert raw.event(codec)["type"] == "ksmpv3.connected"
    except BaseException:
        raw.__exit__(None, None, None)
        raise
    return raw


def host_of(address: tuple[str, int]) -> bytes:
    """The `Host` header for an address."""
    return b"%s:%d" % (address[0].encode(), address[1])


def frame(
    opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, masked: bool = True
) -> bytes:
    """A frame, masked as a client's must be unless told otherwise."""
    head = frame_head(opcode, len(payload), fin=fin, rsv=rsv, masked=masked)
    if not masked:
        return head + payload
    scrambled = bytearray(payload)
    for offset, table in enumerate(_MASK_TABLES):
        scrambled[offset::4] = scrambled[offset::4].translate(table)
    return head + _MASK + bytes(scrambled)


def frame_head(
    opcode: int, length: int, *, fin: bool = True, rsv: int = 0, masked: bool = True
) -> bytes:
    """The first bytes of a frame that says it is `length` bytes long; the mask is not in it."""
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    mask_bit = 0x80 if masked else 0
    if length < 126:
        return bytes([first, mask_bit | length])
    if length < 1 << 16:
        return bytes([first, mask_bit | 126]) + length.to_bytes(2, "big")
    return bytes([first, mask_bit | 127]) + length.to_bytes(8, "big")


def message(frame_or_text: RawFrame) -> bytes:
    """One whole message of the kind its type says."""
    if isinstance(frame_or_text, str):
        return frame(TEXT, frame_or_text.encode())
    return frame(BINARY, frame_or_text)
