"""Both subprotocols a second time, on the standard library's json and on the msgpack package.

An event is a dict in wire order, its `ciphertext` and `chain` as bytes in either subprotocol, so
that what two clients see can be compared as values.
"""

from __future__ import annotations

import base64
import json
import re
from typing import Any, Final, Protocol

import msgpack  # type: ignore[import-untyped]

# What a peer sends is of any shape until a test has looked at it.
Event = dict[str, Any]

RawFrame = str | bytes
"""A WebSocket message: str from a text frame, bytes from a binary one."""

_CHAIN_HEX = re.compile(r"[0-9a-f]{64}", re.ASCII)


class Codec(Protocol):
    """One subprotocol."""

    @property
    def subprotocol(self) -> str:
        """Its name in the handshake."""

    def encode(self, event: Event) -> RawFrame:
        """An event in the plainest form the subprotocol has."""

    def decode(self, frame: RawFrame) -> Event:
        """The event in a frame, which must be of the right kind."""

    def canonical(self, event: Event) -> RawFrame:
        """The only bytes in which a relay may write this decoded event."""


class JsonCodec:
    """`ksmpv3.json`."""

    subprotocol: Final = "ksmpv3.json"

    def encode(self, event: Event) -> str:
        """See `Codec`."""
        return json.dumps(_with_text(event), separators=(",", ":"), ensure_ascii=False)

    canonical = encode

    def decode(self, frame: RawFrame) -> Event:
        """See `Codec`."""
        assert isinstance(frame, str)
        event = json.loads(frame)
        if "chain" in event:
            assert _CHAIN_HEX.fullmatch(event["chain"])
            event["chain"] = bytes.fromhex(event["chain"])
        if "envelope" in event:
            ciphertext = event["envelope"]["ciphertext"]
            event["envelope"]["ciphertext"] = base64.b64decode(ciphertext, validate=True)
        return event

    def __repr__(self) -> str:
        return "json"


class MsgpackCodec:
    """`ksmpv3.msgpack`."""

    subprotocol: Final = "ksmpv3.msgpack"

    def encode(self, event: Event) -> bytes:
        """See `Codec`."""
        packed = msgpack.packb(event, use_bin_type=True)
        assert isinstance(packed, bytes)
        return packed

    canonical = encode

    def decode(self, frame: RawFrame) -> Event:
        """See `Codec`."""
        assert isinstance(frame, bytes)
        event = msgpack.unpackb(frame, raw=False, strict_map_key=True)
        assert isinstance(event, dict)
        if "chain" in event:
            assert isinstance(event["chain"], bytes)
        if "envelope" in event:
            assert isinstance(event["envelope"]["ciphertext"], bytes)
        return event

    def __repr__(self) -> str:
        return "msgpack"


JSON: Final[Codec] = JsonCodec()
MSGPACK: Final[Codec] = MsgpackCodec()


def _with_text(event: Event) -> Event:
    """`event` with its bytes as JSON has them: the chain in hex, everything else in base64."""
    texts: Event = {}
    for name, value in event.items():
        if isinstance(value, dict):
            texts[name] = _with_text(value)
        elif isinstance(value, bytes):
            texts[name] = value.hex() if name == "chain" else base64.b64encode(value).decode()
        else:
            texts[name] = value
    return texts
