"""Any bytes before the upgrade get one answer, the same however they are cut, and none of it back.

byte 0       bit 0: origins are listed; bit 1: TLS ends here; bit 2: a head may be short only
bytes 1 - 3  how the stream is cut
then         the client's bytes, after which it is done
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass
from typing import Final
from unittest.mock import patch

import h11
from websockets.datastructures import Headers

from ksmp.codec import CODECS
from ksmp.errors import REGISTRY
from relay.transport import http
from relay.transport.handshake import PATH, Judge, Upgrade, acceptance
from relay.transport.http import HandshakeRefusedError, RequestReader, refusal
from tests.fuzz.promise import Choices, Cuts, other_cuts, promise, reached

ORIGIN: Final = "https://app.example"
SHORT_HEAD_BYTES: Final = 400
FEW_HEADERS: Final = 8
WEBSOCKET_ID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
_KEY: Final = re.compile(r"[A-Za-z0-9+/]{22}==", re.ASCII)
_FOLD: Final = re.compile(rb"[ \t]*\r?\n[ \t]+")

_JUDGES: Final = [
    Judge(allowed_origins=frozenset(origins), is_secure=is_secure)
    for is_secure in (False, True)
    for origins in ((), (ORIGIN,))
]


@dataclass(frozen=True)
class Answer:
    """An upgrade and the bytes behind its head, or the code of a refusal, or silence."""

    upgrade: Upgrade | None = None
    rest: bytes = b""
    code: str = ""


def request_target(source: bytes) -> None:
    """Read and judge one request in three ways of cutting it."""
    choices = Choices(source)
    bits, cuts, stream = choices.byte(), choices.cuts(), choices.rest()
    judge = _JUDGES[bits & 3]
    if not bits & 4:
        _check_request(judge, cuts, stream)
        return
    with (
        patch.object(http, "MAX_HEAD_BYTES", SHORT_HEAD_BYTES),
        patch.object(http, "MAX_HEADERS", FEW_HEADERS),
    ):
        _check_request(judge, cuts, stream)


def _check_request(judge: Judge, cuts: Cuts, stream: bytes) -> None:
    answer = _answer(judge, cuts, stream)
    for other in other_cuts(stream):
        again = _answer(judge, other, stream)
        promise(again == answer, ("cut otherwise", answer, again))
    if answer.upgrade is not None:
        reached(f"upgrade {answer.upgrade.subprotocol}")
        _require_sound(answer.upgrade, stream[: len(stream) - len(answer.rest)])
    elif answer.code:
        reached(f"refused {answer.code}")
    promise(answer.upgrade is not None or answer.code != "" or not stream, "no answer at all")


def _answer(judge: Judge, cuts: Cuts, stream: bytes) -> Answer:
    reader, position = RequestReader(), 0
    try:
        for piece in (*cuts.of(stream), b""):
            request = reader.receive(piece)
            position += len(piece)
            if request is not None:
                rest = reader.rest + stream[position:]
                promise(stream.endswith(rest), "what follows the head is not what came")
                return Answer(judge.judge(request), rest)
    except HandshakeRefusedError as refused:
        _require_constant(refused)
        return Answer(code=refused.code)
    return Answer()


def _require_constant(refused: HandshakeRefusedError) -> None:
    """The refusal is its code and nothing else: none of the request is in what it says."""
    promise(refused.args == (refused.code,) and refused.code in REGISTRY, refused.args)
    registered = REGISTRY[refused.code]
    promise(registered.http_status >= 400, refused.code)
    text = refusal(refused)
    promise(text == refusal(HandshakeRefusedError(refused.code)), text)
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("Host", "relay")]))
    client.receive_data(text)
    head, body, end = client.next_event(), client.next_event(), client.next_event()
    assert isinstance(head, h11.Response)
    assert isinstance(body, h11.Data)
    assert isinstance(end, h11.EndOfMessage)
    event = json.loads(bytes(body.data))
    promise(head.status_code == registered.http_status, head)
    promise((event["type"], event["code"]) == ("ksmpv3.error", refused.code), event)
    promise(client.their_state is h11.MUST_CLOSE, "the connection would go on")


def _require_sound(upgrade: Upgrade, head: bytes) -> None:
    """What is accepted is a GET of the one path, and the acceptance proves that we read its key."""
    promise(head.startswith(b"GET " + PATH.encode() + b" HTTP/1.1"), head[:80])
    promise(head.endswith((b"\n\n", b"\n\r\n")), head[-80:])
    head = _FOLD.sub(b" ", head)  # a header may go on in the next line (RFC 9112 section 5.2)
    promise(upgrade.key.encode() in head, upgrade.key)
    promise(_KEY.fullmatch(upgrade.key) is not None, upgrade.key)
    promise(upgrade.subprotocol in (None, upgrade.codec.subprotocol), upgrade)
    promise(upgrade.codec in CODECS.values(), upgrade)
    promise(upgrade.token is None or upgrade.token.encode() in head, upgrade.token)
    promise(all(item.encode() in head for item in upgrade.forwarded_for), upgrade.forwarded_for)
    client = h11.Connection(h11.CLIENT)
    headers = [("Host", "relay"), ("Connection", "upgrade"), ("Upgrade", "websocket")]
    client.send(h11.Request(method="GET", target="/", headers=headers))
    client.receive_data(acceptance(upgrade))
    accepted = client.next_event()
    assert isinstance(accepted, h11.InformationalResponse)
    answers = Headers([(name.decode(), value.decode()) for name, value in accepted.headers])
    proof = base64.b64encode(hashlib.sha1(upgrade.key.encode() + WEBSOCKET_ID).digest())
    promise(accepted.status_code == 101, accepted)
    promise(answers["Sec-WebSocket-Accept"] == proof.decode(), answers)
    promise(answers.get("Sec-WebSocket-Protocol") == upgrade.subprotocol, answers)
    promise("Sec-WebSocket-Extensions" not in answers, answers)
