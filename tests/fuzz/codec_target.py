"""Any frame is one valid event or one declared refusal, the same one that a second parser finds.

byte 0   bit 0: JSON; bit 1: a server's event, as a client decodes it
then     the frame
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from ksmp.codec import JSON, MSGPACK, Codec
from ksmp.events import CLIENT_EVENT_TYPES, About, ClientEvent
from ksmp.malformed import InvalidTextError, MalformedError, UnknownEventError
from tests.fuzz.codec_model import is_identifier, judge
from tests.fuzz.promise import promise, reached
from tests.wire import codecs as independent
from tests.wire.codecs import Event

IS_JSON: Final = 1
FROM_SERVER: Final = 2


def codec_target(source: bytes) -> None:
    """Decode one frame as the relay or as a client does."""
    settings, frame = (source[0] if source else 0), source[1:]
    codec = JSON if settings & IS_JSON else MSGPACK
    if settings & FROM_SERVER:
        _decode_server_event(codec, frame)
    else:
        _decode_client_event(codec, frame)


def _decode_client_event(codec: Codec, frame: bytes) -> None:
    expected, expected_about = judge(frame, is_text=codec.is_text)
    try:
        event = codec.decode_client_event(frame)
    except MalformedError as malformed:
        reached(f"{codec.subprotocol} malformed")
        promise(expected in ("malformed", None), ("malformed, but", expected))
        about = _checked_about(malformed.about)
        if expected_about is not None:
            promise(about == expected_about, (about, "instead of", expected_about))
    except UnknownEventError as unknown:
        reached(f"{codec.subprotocol} unknown_event")
        promise(expected in ("unknown_event", None), ("unknown, but", expected))
        promise(unknown.about is UNSET, unknown.about)
    except InvalidTextError:
        reached("invalid text")
        promise(codec.is_text and not _is_utf8(frame), "only a text that is none is called so")
    else:
        reached(f"{codec.subprotocol} {type(event).__name__}")
        promise(isinstance(expected, dict), (event, "instead of", expected))
        assert isinstance(expected, dict)
        promise(not codec.is_text or _is_utf8(frame), "text that is none was accepted")
        _require_canonical(codec, event, expected)


def _checked_about(about: About | UnsetType) -> Event | None:
    """What a refusal says it is about; it names valid ids and nothing else of the frame."""
    if about is UNSET:
        return None
    ids: Event = msgspec.to_builtins(about)
    promise(about.type in CLIENT_EVENT_TYPES, about)
    promise(all(is_identifier(value) for value in ids.values()), about)
    return ids


def _require_canonical(codec: Codec, event: ClientEvent, expected: Event) -> None:
    """`event` says what the model found, in the only bytes there are for it."""
    written = codec.encode(event)
    model = (independent.JSON if codec.is_text else independent.MSGPACK).canonical(expected)
    promise(written == (model.encode() if isinstance(model, str) else model), (written, model))
    promise(codec.decode_client_event(written) == event, (written, event))


def _decode_server_event(codec: Codec, frame: bytes) -> None:
    try:
        event = codec.decode_server_event(frame)
    except MalformedError:
        reached("server malformed")
    except InvalidTextError:
        reached("server invalid text")
        promise(codec.is_text and not _is_utf8(frame), "only a text that is none is called so")
    else:
        reached(f"server {type(event).__name__}")
        if event is not None:
            promise(codec.decode_server_event(codec.encode(event)) == event, event)


def _is_utf8(frame: bytes) -> bool:
    try:
        frame.decode()
    except UnicodeDecodeError:
        return False
    return True
