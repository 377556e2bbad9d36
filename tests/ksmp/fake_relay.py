"""A relay's end of the wire, played by a script: `websockets` and `msgpack`, none of our code.

It runs in a thread, so that the client under test may run on any event loop.
"""

from __future__ import annotations

import json
import socket
import ssl
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha1
from typing import Any

import msgpack
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

TOKEN = "canary.token.signature"
USER = "alice"
PEER = "bob"

Event = dict[str, Any]


class FakeRelay:
    """The relay's side of one connection: says events and hears them."""

    def __init__(self, connection: ServerConnection) -> None:
        self.connection = connection
        self.is_text = connection.subprotocol == "ksmpv3.json"

    def greet(self, **changes: Any) -> None:
        """Say `ksmpv3.connected`."""
        self.say(**connected() | changes)

    def say(self, **event: Any) -> None:
        """Send one event."""
        self.connection.send(json.dumps(event) if self.is_text else msgpack.packb(event))

    def hear(self, kind: str) -> Event:
        """The next event, which must be of this kind."""
        message = self.connection.recv(timeout=10)
        event = json.loads(message) if self.is_text else msgpack.unpackb(message)
        assert event["type"] == kind, event
        assert isinstance(message, str) is self.is_text
        return event

    def ack(self, send: Event, server_seq: int) -> None:
        """Answer a send."""
        envelope = send["envelope"]
        ids = ("conversationId", "recipientUserId", "messageId", "idempotencyKey")
        self.say(
            type="ksmpv3.send.ack",
            **{name: envelope[name] for name in ids},
            serverSeq=server_seq,
            serverReceivedAtMs=1_000,
            chain=self.chain(server_seq),
        )

    def refuse(self, send: Event, code: str) -> None:
        """Answer a send with an error."""
        envelope = send["envelope"]
        ids = ("conversationId", "recipientUserId", "messageId", "idempotencyKey")
        about = {"type": send["type"]} | {name: envelope[name] for name in ids}
        self.say(**error(code, about=about))

    def frame(self, number: int, ciphertext: bytes = b"sealed") -> None:
        """Deliver one record."""
        self.say(
            type="ksmpv3.inbox.frame",
            globalInboxSeq=number,
            previousGlobalInboxSeq=number - 1,
            envelope={
                "protocol": "ksmpv3",
                "conversationId": "talk",
                "messageId": f"m{number}",
                "senderUserId": PEER,
                "recipientUserId": USER,
                "ciphertext": b64encode(ciphertext).decode() if self.is_text else ciphertext,
                "contentType": "text",
                "clientCreatedAtMs": 5,
                "serverSeq": number,
                "serverReceivedAtMs": 1_000,
                "idempotencyKey": f"k{number}",
            },
            chain=self.chain(number),
        )

    def chain(self, number: int) -> str | bytes:
        """A chain value as this subprotocol writes it."""
        value = number.to_bytes(32, "big")
        return value.hex() if self.is_text else value

    def wait_closed(self) -> int | None:
        """The close code of the client, which says nothing more before it."""
        try:
            message = self.connection.recv(timeout=10)
        except ConnectionClosed as closed:
            return None if closed.rcvd is None else closed.rcvd.code
        raise AssertionError(f"the client said {len(message)} more bytes")


Script = Callable[[FakeRelay], None]


@contextmanager
def fake_relay(
    script: Script,
    *,
    tls: ssl.SSLContext | None = None,
    refusal: tuple[int, bytes] | None = None,
) -> Iterator[str]:
    """A URL at which `script` is played to whoever connects. What fails there fails here."""
    failures: list[BaseException] = []
    played = threading.Event()

    def play(connection: ServerConnection) -> None:
        try:
            script(FakeRelay(connection))
        except BaseException as failure:  # noqa: ASYNC103, BLE001 (raised in the test's own thread)
            failures.append(failure)
        finally:
            played.set()

    def judge(connection: ServerConnection, request: Request) -> Response | None:
        assert request.path == "/ksmp/v3"
        assert request.headers["Authorization"] == f"Bearer {TOKEN}"
        if refusal is None:
            return None
        status, body = refusal
        played.set()
        return Response(status, "Refused", Headers({"Content-Length": str(len(body))}), body)

    with serve(
        play,
        "127.0.0.1",
        0,
        ssl=tls,
        process_request=judge,
        subprotocols=["ksmpv3.json", "ksmpv3.msgpack"],  # type: ignore[list-item]
        compression=None,
        close_timeout=5,
    ) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            port = server.socket.getsockname()[1]
            yield f"wss://localhost:{port}" if tls else f"ws://127.0.0.1:{port}"
            assert played.wait(10), "the script has not ended"
        finally:
            server.shutdown()
            thread.join()
    if failures:
        raise failures[0]


@contextmanager
def mute_relay(*, keepalive_ms: int | None) -> Iterator[str]:
    """Accepts connections and never answers a ping. Without a keepalive it says nothing at all."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_be_mute, args=(listener, keepalive_ms))
        thread.start()
        try:
            yield f"ws://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            thread.join()


def _be_mute(listener: socket.socket, keepalive_ms: int | None) -> None:
    peer, _ = listener.accept()
    with peer:
        request = b""
        while b"\r\n\r\n" not in request:
            request += peer.recv(4096)
        if keepalive_ms is not None:
            _, _, key = request.partition(b"Sec-WebSocket-Key: ")
            accept = sha1(key.split(b"\r\n")[0] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11")
            greeting = msgpack.packb(connected() | {"keepaliveMs": keepalive_ms})
            peer.sendall(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Protocol: ksmpv3.msgpack\r\n"
                b"Sec-WebSocket-Accept: %b\r\n\r\n" % b64encode(accept.digest())
                + b"\x82\x7e" + len(greeting).to_bytes(2, "big") + greeting
            )  # fmt: skip
        while peer.recv(4096):
            pass


def connected() -> Event:
    """The first event."""
    return {
        "type": "ksmpv3.connected",
        "protocol": "ksmpv3",
        "userId": USER,
        "deviceId": "default",
        "connectionId": "c1",
        "serverTimeMs": 1_000,
        "epoch": "e1",
        "headGlobalInboxSeq": 0,
        "truncatedThrough": 0,
        "keepaliveMs": 30_000,
        "tokenExpiresAtMs": 9_000_000,
        "extensions": ["auth", "chain", "read", "resume.complete"],
        "limits": {
            "maxCiphertextBytes": 262_144,
            "maxFrameBytes": 409_600,
            "maxUnackedSends": 256,
            "sendsPerSecond": 200,
            "sendsBurst": 400,
            "idempotencyWindowMs": None,
        },
    }


def error(code: str, **fields: Any) -> Event:
    """A `ksmpv3.error`."""
    event = {"type": "ksmpv3.error", "code": code, "message": "…", "retryable": False}
    return event | {"action": "fix"} | fields
