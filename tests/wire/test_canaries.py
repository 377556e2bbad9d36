"""Nothing a client said is ever said again: not in a log, a crash, or a file's name (section 9)."""

from __future__ import annotations

import base64
import json

import pytest
import trio

from tests.wire import raw
from tests.wire.canaries import forms, found_in, outside_the_store
from tests.wire.codecs import JSON, MSGPACK, Codec
from tests.wire.connecting import Clients, StartRelay
from tests.wire.messages import ack_read, envelope, ping, resume, send
from tests.wire.raw import CLOSE, PING, TEXT, frame, message

ALICE, BOB = "canary-user-alice-c7d1", "canary-user-bob-e90b"
TABLET = "canary-device-tablet-4f2a"
CIPHERTEXT = b"canary ciphertext \x00\xff 5b8e"
TALK = "canary-conversation-1a2b"
MESSAGE, KEY = "canary-message-77aa", "canary-key-33cc"
NONCE, EPOCH = "canary-nonce-90ff", "canary-epoch-21dd"
ODD = "canary odd text é \x1b[31m 6e6e"
QUERY = "canary-query-token-8b8b"
FRAGMENT = b"canary fragment of no event 0d0d"

IDENTIFIERS = [ALICE, BOB, TABLET, TALK, MESSAGE, KEY, NONCE, EPOCH, QUERY]


@pytest.mark.parametrize("canary", [CIPHERTEXT, TALK.encode(), ODD.encode()])
def test_search_finds_every_form_of_a_canary(canary: bytes) -> None:
    assert found_in(b"a log line without it", [canary]) == []
    for form, needle in forms(canary).items():
        assert any(form in found for found in found_in(b"x" + needle + b"y", [canary]))
    for before in (b"", b"1", b"22"):
        assert found_in(base64.b64encode(before + canary + b"tail"), [canary])


def _envelope(**fields: object) -> dict[str, object]:
    base = {
        "conversationId": TALK,
        "messageId": MESSAGE,
        "idempotencyKey": KEY,
        "ciphertext": CIPHERTEXT,
        "clientCreatedAtMs": 1_790_000_000_000,
    }
    return envelope(ALICE, BOB, **(base | fields))


async def _talk(own: Clients, codec: Codec) -> None:
    """A message's whole life, and every refusal that an event can earn."""
    async with own.connect(ALICE, codec) as a, own.connect(BOB, codec, device=TABLET) as b:
        await b.tell(resume(0, epoch=EPOCH), resume(10**6))
        await b.receive_many(2)
        await b.resume(0)
        await a.send(_envelope())
        await a.tell(ping(NONCE), ack_read(TALK, BOB, 1), ack_read(TALK, BOB, 99))
        await a.receive_many(3)
        await b.tell(ack_read(TALK, ALICE, 1, private=True), resume(0))
        await a.answer_to(_envelope(contentType="image"))
        await a.answer_to(_envelope(senderUserId=BOB, idempotencyKey=KEY + "-2"))
        large = _envelope(ciphertext=CIPHERTEXT * 12_000, idempotencyKey=KEY + "-3")
        await a.answer_to(large)
        await a.tell({"type": ODD}, ping(ODD), send(_envelope() | {"extra": ODD}))
        await a.receive_many(3)
        await a.tell({"type": ODD, ODD: ODD})
        assert await a.close_code() == 4400


def _break_frames(own: Clients) -> None:
    """Frames that no event is made of."""
    for codec in (JSON, MSGPACK):
        for broken in (
            frame(TEXT, FRAGMENT, masked=False),
            frame(TEXT, FRAGMENT + b"\xff"),
            frame(PING, FRAGMENT * 5),
            frame(0xB, FRAGMENT),
            frame(CLOSE, b"\x03\xe8" + FRAGMENT),
            frame(CLOSE, b"\x03\xe8" + FRAGMENT + b"\xff"),
            frame(TEXT, FRAGMENT, fin=False) + frame(TEXT, FRAGMENT),
            message(FRAGMENT) * 4,
            message(FRAGMENT.decode()) * 4,
        ):
            with own.connect_raw(ALICE, codec) as socket:
                socket.send(broken)
                socket.close_code(codec)


def _break_handshakes(own: Clients, token: str) -> None:
    """Requests that are refused, with canaries in every place."""
    host = raw.host_of(own.relay.address)
    requests = [
        raw.request(host, token=token, line=b"GET /ksmp/v3?token=%b HTTP/1.1" % QUERY.encode()),
        raw.request(host, token=token, line=b"GET /%b HTTP/1.1" % QUERY.encode()),
        raw.request(host, token=token, line=b"%b / HTTP/1.1" % QUERY.encode()),
        raw.request(host, token=token, extra=[(b"Origin", QUERY.encode())]),
        raw.request(host, token=token, extra=[(b"Sec-WebSocket-Key", FRAGMENT)]),
        raw.request(QUERY.encode() + b"\xff", token=token),
        raw.request(host, token=token[:-8] + "AAAAAAAA"),
        raw.request(host, extra=[(b"Sec-WebSocket-Protocol", b"ksmpv3.bearer." + token.encode())]),
        raw.request(host, token=token, extra=[(b"X", FRAGMENT * 2000)]),
        FRAGMENT + b"\r\n\r\n",
    ]
    for sent in requests:
        with raw.RawSocket(own.relay.address) as socket:
            socket.send(sent)
            socket.response()


@pytest.mark.trio
async def test_no_canary_is_emitted_by_a_relay_that_logs_everything(start: StartRelay) -> None:
    own = start(log__level="debug", log__format="json")
    issuer = own.issuer
    token, refresh = issuer.token(ALICE), issuer.token(ALICE)
    for codec in (JSON, MSGPACK):
        await _talk(own, codec)
    async with own.connect(ALICE, token=token) as peer:
        await peer.tell({"type": "ksmpv3.auth", "token": refresh})
        assert (await peer.receive())["type"] == "ksmpv3.auth.ok"
    async with own.connect(ALICE, token=token) as peer:
        await peer.tell({"type": "ksmpv3.auth", "token": refresh[:-8] + "AAAAAAAA"})
        assert await peer.close_code() == 4401
    await trio.to_thread.run_sync(_break_frames, own)
    await trio.to_thread.run_sync(_break_handshakes, own, token)
    async with own.connect(ALICE, token=token) as peer:
        await peer.tell(send(_envelope(idempotencyKey=KEY + "-4")))
        await trio.to_thread.run_sync(own.relay.crash)
    async with own.connect(BOB) as peer:
        await peer.resume(0)
    assert own.relay.terminate() == 0

    emitted = own.relay.output() + outside_the_store(own.relay.directory)
    secrets = [token, refresh, *token.split(".")[1:], *refresh.split(".")[1:]]
    canaries = [CIPHERTEXT, FRAGMENT, ODD.encode()]
    canaries += [text.encode() for text in IDENTIFIERS + secrets]
    assert found_in(emitted, canaries) == []
    _assert_it_logged(own.relay.output())


def _assert_it_logged(output: bytes) -> None:
    """The search meant something: the relay was saying much, one JSON object a line."""
    lines = [json.loads(line) for line in output.splitlines() if line.startswith(b"{")]
    names = {line["event"] for line in lines}
    assert len(lines) > 100
    assert len(names) >= 10, names
