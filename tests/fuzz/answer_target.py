"""Any answer of a server is an open connection or one declared refusal, however it is cut.

bytes 0 - 2  how the stream is cut
then         the server's bytes, after which it is done; `{accept}` stands for the right proof
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from unittest.mock import patch

from websockets import client

from ksmp.upgrade import ClientHandshake, UpgradeRefusedError
from tests.fuzz.promise import Choices, Cuts, other_cuts, promise, reached

KEY: Final = "c2l4dGVlbiBieXRlcy4uLg=="
PROOF: Final = b"FlYPPSB53TTF16oKOkJqU84hNz0="  # of that key (RFC 6455 section 4.2.2)
SUBPROTOCOL: Final = "ksmpv3.msgpack"


@dataclass(frozen=True)
class Outcome:
    """What the client made of it: bytes behind an acceptance, or a status and a body."""

    rest: bytes | None = None
    status: int = -1
    body: bytes = b""


def answer_target(source: bytes) -> None:
    """Read one answer in three ways of cutting it."""
    choices = Choices(source)
    cuts, stream = choices.cuts(), choices.rest()
    outcome = _outcome(cuts, stream)
    for other in other_cuts(stream):
        again = _outcome(other, stream)
        promise(again == outcome, ("cut otherwise", outcome, again))
    if outcome.rest is None:
        reached(f"server refused with {outcome.status // 100}xx")
    else:
        reached("server accepted")
        promise(stream.startswith(b"HTTP/1.1 101"), stream[:40])
        promise(PROOF in stream, "accepted without the proof")
        promise(stream.endswith(outcome.rest), "what follows the answer is not what came")


def _outcome(cuts: Cuts, stream: bytes) -> Outcome:
    handshake, position = _handshake(), 0
    try:
        for piece in (*cuts.of(stream), b""):
            opened = handshake.receive(piece)
            position += len(piece)
            if opened is not None:
                framing, behind = opened
                promise(framing.is_open, "it is not open")
                return Outcome(rest=behind + stream[position:])
    except UpgradeRefusedError as refused:
        promise(refused.status == 0 or 100 <= refused.status <= 999, refused.status)
        return Outcome(status=refused.status, body=refused.body)
    promise(False, "no outcome at the end of the stream")
    return Outcome()


def _handshake() -> ClientHandshake:
    with patch.object(client, "generate_key", lambda: KEY):
        handshake = ClientHandshake(
            host="relay.example",
            port=8765,
            is_secure=False,
            path="/ksmp/v3",
            subprotocol=SUBPROTOCOL,
            is_text=False,
            token="a.b.c",
            max_frame_bytes=1_000,
        )
    promise(KEY.encode() in handshake.request, "another key")
    return handshake
