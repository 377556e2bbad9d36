"""What `ksmp.upgrade` promises: the right request, and a judgement of whatever is answered."""

from __future__ import annotations

import pytest
from websockets.utils import accept_key

from ksmp.upgrade import ClientHandshake, UpgradeRefusedError
from ksmp.websocket import ClientFraming, ServerFraming, frame_header

LIMIT = 1_000


def new_handshake() -> ClientHandshake:
    return ClientHandshake(
        host="relay.example",
        port=8765,
        is_secure=False,
        path="/ksmp/v3",
        subprotocol="ksmpv3.msgpack",
        is_text=False,
        token="a.b.c",
        max_frame_bytes=100_000,
    )


def accept_header(request: bytes) -> bytes:
    key = request.split(b"Sec-WebSocket-Key: ")[1].split(b"\r\n")[0]
    return accept_key(key.decode()).encode()


def acceptance(request: bytes, **changed: bytes) -> bytes:
    headers = {
        b"Upgrade": b"websocket",
        b"Connection": b"Upgrade",
        b"Sec-WebSocket-Accept": accept_header(request),
        b"Sec-WebSocket-Protocol": b"ksmpv3.msgpack",
    }
    headers.update({name.replace("_", "-").encode(): value for name, value in changed.items()})
    lines = [name + b": " + value for name, value in headers.items() if value]
    return b"\r\n".join((b"HTTP/1.1 101 Switching Protocols", *lines, b"", b""))


def test_client_asks_for_the_subprotocol_with_its_token() -> None:
    request = new_handshake().request

    assert request.startswith(b"GET /ksmp/v3 HTTP/1.1\r\n")
    assert b"\r\nHost: relay.example:8765\r\n" in request
    assert b"\r\nAuthorization: Bearer a.b.c\r\n" in request
    assert b"\r\nSec-WebSocket-Protocol: ksmpv3.msgpack\r\n" in request
    assert b"Extensions" not in request


@pytest.mark.parametrize("step", [1, 1_000])
def test_what_follows_the_acceptance_belongs_to_the_connection(step: int) -> None:
    handshake = new_handshake()
    answer = acceptance(handshake.request)
    stream = answer + b"\x82\x05hello"

    taken, opened = 0, None
    while opened is None:
        opened = handshake.receive(stream[taken : taken + step])
        taken += step
    framing, rest = opened

    assert framing.receive(rest + stream[taken:], 0.0) == [b"hello"]


REFUSALS = {
    "wrong accept": ({"Sec_WebSocket_Accept": b"AAAAAAAAAAAAAAAAAAAAAAAAAAA="}, 101),
    "no upgrade": ({"Upgrade": b""}, 101),
    "no subprotocol": ({"Sec_WebSocket_Protocol": b""}, 101),
    "another subprotocol": ({"Sec_WebSocket_Protocol": b"ksmpv3.json"}, 101),
    "an extension": ({"Sec_WebSocket_Extensions": b"permessage-deflate"}, 101),
}


@pytest.mark.parametrize(("changed", "status"), REFUSALS.values(), ids=REFUSALS)
def test_client_refuses_an_acceptance_that_is_none(changed: dict[str, bytes], status: int) -> None:
    handshake = new_handshake()

    with pytest.raises(UpgradeRefusedError) as refused:
        handshake.receive(acceptance(handshake.request, **changed))

    assert refused.value.status == status


def test_client_reports_status_and_body_of_a_refusal() -> None:
    handshake = new_handshake()
    body = b'{"type":"ksmpv3.error"}'
    answer = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)

    with pytest.raises(UpgradeRefusedError) as refused:
        handshake.receive(answer)

    assert (refused.value.status, refused.value.body) == (401, body)


@pytest.mark.parametrize(
    "answer", [b"SSH-2.0-x\r\n", b"HTTP/1.1 101 Sw", b"\x16\x03\x01\x02\x00\n"]
)
def test_client_survives_what_is_not_http(answer: bytes) -> None:
    handshake = new_handshake()

    def receive_all() -> None:
        handshake.receive(answer)
        handshake.receive(b"")

    with pytest.raises(UpgradeRefusedError) as refused:
        receive_all()

    assert refused.value.status == 0


def test_client_and_server_understand_each_other() -> None:
    client = ClientFraming(is_text=True, max_frame_bytes=LIMIT)
    relay = ServerFraming(is_text=True, max_frame_bytes=LIMIT)

    client.send(b"to the relay")
    assert relay.receive(b"".join(client.outgoing()), 0.0) == [b"to the relay"]
    relay.ping()
    stream = b"".join(relay.outgoing()) + frame_header(True, 5) + b"reply"
    assert client.receive(stream, 0.0) == [b"reply"]
    assert relay.receive(b"".join(client.outgoing()), 0.0) == []
    client.close(1000)
    client.send(b"after the close")
    assert relay.receive(b"".join(client.outgoing()), 0.0) == []
    assert client.receive(b"".join(relay.outgoing()), 0.0) == []

    assert (relay.close_code_received, client.close_code_received) == (1000, 1000)
    assert client.is_finished


def test_client_masks_every_message_with_a_fresh_key() -> None:
    client = ClientFraming(is_text=False, max_frame_bytes=LIMIT)

    for _ in range(2):
        client.send(b"the same text")
    one, other = client.outgoing()

    assert one[:2] == other[:2] == bytes((0x82, 0x80 | 13))
    assert one[2:6] != other[2:6]
