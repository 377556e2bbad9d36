"""What happens before the upgrade, over sockets: every refusal is answered, and nobody waits."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio
import trustme
from trio.testing import MockClock, wait_all_tasks_blocked
from websockets.frames import Frame, Opcode

from actors.transport import PeerGoneError, Transport
from ksmp.codec import Codec
from ksmp.upgrade import ClientHandshake
from relay.auth import UnauthenticatedError
from relay.transport.front import Front, TransportLimits
from relay.transport.handshake import Judge
from relay.transport.http import HandshakeRefusedError
from relay.transport.opening import OpenTransport, opening
from relay.transport.stream import TcpStream
from relay.transport.websocket import open_websocket

REQUEST = (
    b"GET /ksmp/v3 HTTP/1.1\r\nHost: relay.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    b"Authorization: Bearer alice\r\n\r\n"
)


@dataclass
class Echo:
    """A reception where the token is the user, and whose connections echo what they hear."""

    refuse: HandshakeRefusedError | None = None
    served: list[str] = field(default_factory=list)

    async def authenticate(self, token: str | None, address: str) -> str:
        await trio.lowlevel.checkpoint()
        if token != "alice":
            raise UnauthenticatedError("missing")
        return token

    def admit(self, who: str) -> None:
        if self.refuse is not None:
            raise self.refuse

    async def serve(self, who: str, codec: Codec, transport: Transport) -> None:
        self.served.append(f"{who} {codec.subprotocol}")
        try:
            while True:
                for message in await transport.receive():
                    transport.send(bytes(message))
                if not transport.flush():
                    await transport.drain()
        except PeerGoneError:
            await transport.aclose()


@asynccontextmanager
async def meeting(
    reception: Echo,
    *,
    open_transport: OpenTransport = open_websocket,
    tls: ssl.SSLContext | None = None,
    refused: list[str] | None = None,
) -> AsyncIterator[trio.SocketStream]:
    """A peer's stream; a front meets its other end. Ends when the front has let go of it."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    front = Front(
        Judge(allowed_origins=frozenset(), is_secure=tls is not None),
        reception,
        TransportLimits(max_frame_bytes=1_000),
        open_transport=open_transport,
        tls=tls,
        on_refused=(refused if refused is not None else list[str]()).append,
    )
    peer = trio.SocketStream(trio.socket.from_stdlib_socket(theirs))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(front.meet, TcpStream(ours), "192.0.2.1")
        yield peer
        await peer.aclose()
    assert ours.fileno() == -1


async def read_to_end(stream: trio.abc.ReceiveStream) -> bytes:
    return b"".join([bytes(chunk) async for chunk in stream])


def code_of(answer: bytes) -> tuple[int, str]:
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), json.loads(body)["code"]


@pytest.fixture(params=["websockets", "trio-websocket"])
def open_transport(request: pytest.FixtureRequest) -> OpenTransport:
    """Each transport."""
    return opening(request.param)


async def test_frames_behind_the_request_are_echoed_behind_the_acceptance(
    open_transport: OpenTransport,
) -> None:
    reception = Echo()
    async with meeting(reception, open_transport=open_transport) as peer:
        await peer.send_all(REQUEST + Frame(Opcode.TEXT, b"hello").serialize(mask=True))
        await peer.send_eof()
        answer = await read_to_end(peer)

    head, _, rest = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ")
    assert rest == b"\x81\x05hello"
    assert reception.served == ["alice ksmpv3.json"]


async def test_a_second_request_behind_the_first_is_a_broken_frame(
    open_transport: OpenTransport,
) -> None:
    async with meeting(Echo(), open_transport=open_transport) as peer:
        await peer.send_all(REQUEST + REQUEST)
        await peer.send_eof()
        answer = await read_to_end(peer)

    frame = answer.partition(b"\r\n\r\n")[2]
    assert (frame[0], frame[2:4]) == (0x88, b"\x03\xea")  # close 1002


REFUSED = {
    "not HTTP": (b"\x16\x03\x01", Echo(), (400, "bad_request")),
    "broken off": (REQUEST[:-2], Echo(), (400, "bad_request")),
    "no credential": (
        REQUEST.replace(b"Bearer alice", b"Basic x"),
        Echo(),
        (401, "unauthenticated"),
    ),
    "too many": (
        REQUEST,
        Echo(HandshakeRefusedError("rate_limited")),
        (429, "rate_limited"),
    ),
    "draining": (REQUEST, Echo(HandshakeRefusedError("draining")), (503, "draining")),
    "no credential while draining": (
        REQUEST.replace(b"alice", b"eve"),
        Echo(HandshakeRefusedError("draining")),
        (401, "unauthenticated"),
    ),
}


@pytest.mark.parametrize(("sent", "reception", "answer"), REFUSED.values(), ids=REFUSED)
async def test_a_refusal_is_answered_counted_and_never_served(
    sent: bytes, reception: Echo, answer: tuple[int, str]
) -> None:
    refused: list[str] = []
    async with meeting(reception, refused=refused) as peer:
        await peer.send_all(sent)
        await peer.send_eof()
        assert code_of(await read_to_end(peer)) == answer

    assert refused == [answer[1]]
    assert reception.served == []


async def test_a_refusal_arrives_although_the_peer_is_still_sending() -> None:
    async with meeting(Echo()) as peer, trio.open_nursery() as nursery:

        async def send_too_much() -> None:
            await peer.send_all(b"GET / HTTP/1.1\r\nX: " + b"y" * 40_000)
            await peer.send_eof()

        nursery.start_soon(send_too_much)
        assert code_of(await read_to_end(peer)) == (431, "headers_too_large")


@pytest.mark.parametrize("sent", [b"", REQUEST[:50]])
async def test_who_does_not_finish_in_time_is_told_and_closed(
    sent: bytes, autojump_clock: MockClock
) -> None:
    async with meeting(Echo()) as peer:
        await peer.send_all(sent)
        assert code_of(await read_to_end(peer)) == (408, "handshake_timeout")
        assert trio.current_time() == pytest.approx(5.0)


async def test_drops_of_a_request_do_not_extend_its_time(autojump_clock: MockClock) -> None:
    async with meeting(Echo()) as peer:

        async def send_slowly() -> None:
            for byte in REQUEST:
                await peer.send_all(bytes((byte,)))
                await trio.sleep(0.1)

        with pytest.raises(trio.BrokenResourceError):
            await send_slowly()
        assert trio.current_time() < 7.0


async def test_a_peer_that_says_nothing_and_leaves_gets_nothing() -> None:
    refused: list[str] = []
    async with meeting(Echo(), refused=refused) as peer:
        await peer.send_eof()
        assert await read_to_end(peer) == b""

    assert refused == []


async def test_a_refused_peer_that_stays_is_closed_after_a_second(
    autojump_clock: MockClock,
) -> None:
    async with meeting(Echo()) as peer:
        await peer.send_all(REQUEST.replace(b"alice", b"eve"))
        assert code_of(await read_to_end(peer)) == (401, "unauthenticated")
        await trio.sleep(1.5)
        with pytest.raises(trio.BrokenResourceError):
            await peer.send_all(b"more")


class Cancelled:
    """A reception that is cancelled as soon as it has let somebody in."""

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.admitted = self.left = 0

    async def authenticate(self, token: str | None, address: str) -> None:
        await trio.lowlevel.checkpoint()

    def admit(self, who: None) -> None:
        self.admitted += 1
        self.scope.cancel()

    async def serve(self, who: None, codec: Codec, transport: Transport) -> None:
        try:
            await trio.sleep_forever()
        finally:
            self.left += 1


async def test_whoever_is_let_in_is_served_even_if_all_ends_at_that_moment(
    open_transport: OpenTransport,
) -> None:
    """Serving gives the place back."""
    reception = Cancelled()
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    front = Front(
        Judge(allowed_origins=frozenset(), is_secure=False),
        reception,
        TransportLimits(max_frame_bytes=1_000),
        open_transport=open_transport,
    )
    with theirs, reception.scope:
        theirs.sendall(REQUEST)
        await front.meet(TcpStream(ours), "192.0.2.1")
    assert (reception.admitted, reception.left) == (1, 1)


# ── too many at once ─────────────────────────────────────────────────────────────────────────


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


class Crowd:
    """A front that lets two handshakes be in progress, and whoever comes to it."""

    def __init__(self, nursery: trio.Nursery, tls: ssl.SSLContext | None) -> None:
        self.reception = Echo()
        self.refused: list[str] = []
        self._nursery = nursery
        self._peers: list[trio.SocketStream] = []
        self.front = Front(
            Judge(allowed_origins=frozenset(), is_secure=tls is not None),
            self.reception,
            TransportLimits(max_frame_bytes=1_000, handshakes=2),
            tls=tls,
            on_refused=self.refused.append,
        )

    async def come(self, says: bytes = b"") -> trio.SocketStream:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self._nursery.start_soon(self.front.meet, TcpStream(ours), "192.0.2.1")
        peer = trio.SocketStream(trio.socket.from_stdlib_socket(theirs))
        self._peers.append(peer)
        await peer.send_all(says)
        await wait_all_tasks_blocked()
        return peer

    async def leave(self) -> None:
        for peer in self._peers:
            await peer.aclose()


@asynccontextmanager
async def crowding(tls: ssl.SSLContext | None = None) -> AsyncIterator[Crowd]:
    """Ends when the front has let go of everyone."""
    async with trio.open_nursery() as nursery:
        crowd = Crowd(nursery, tls)
        yield crowd
        await crowd.leave()


@pytest.mark.parametrize("is_secure", [False, True])
async def test_one_handshake_too_many_costs_the_oldest_its_connection_without_an_answer(
    is_secure: bool, tls: ssl.SSLContext, autojump_clock: MockClock
) -> None:
    async with crowding(tls if is_secure else None) as crowd:
        oldest = await crowd.come()
        second = await crowd.come()
        third = await crowd.come()

        assert await read_to_end(oldest) == b""
        assert trio.current_time() == 0.0
        for other in (second, third):
            await read_to_end(other)
            assert trio.current_time() == 5.0
        assert crowd.refused == ([] if is_secure else ["handshake_timeout"] * 2)


async def test_who_is_through_the_handshake_never_gives_way(autojump_clock: MockClock) -> None:
    async with crowding() as crowd:
        served = [await crowd.come(REQUEST) for _ in range(3)]
        for _ in range(10):
            await crowd.come()
        late = await crowd.come(REQUEST)

        for peer in (*served, late):
            assert (await peer.receive_some()).startswith(b"HTTP/1.1 101 ")
            await peer.send_all(Frame(Opcode.TEXT, b"hello").serialize(mask=True))
            assert await peer.receive_some() == b"\x81\x05hello"


async def test_handshakes_that_have_ended_make_no_others_give_way(
    autojump_clock: MockClock,
) -> None:
    async with crowding() as crowd:
        patient = await crowd.come(REQUEST[:50])
        for _ in range(10):
            hasty = await crowd.come()
            await hasty.aclose()
            await wait_all_tasks_blocked()
        await patient.send_all(REQUEST[50:])

        assert (await patient.receive_some()).startswith(b"HTTP/1.1 101 ")


async def test_room_is_made_at_the_cost_of_the_oldest_handshake_and_of_no_connection(
    autojump_clock: MockClock,
) -> None:
    async with crowding() as crowd:
        served = await crowd.come(REQUEST)
        assert not crowd.front.make_room()
        oldest = await crowd.come()
        await crowd.come()
        before = open_descriptors()

        assert crowd.front.make_room()

        assert open_descriptors() == before - 1
        assert await read_to_end(oldest) == b""
        assert crowd.front.make_room()
        assert not crowd.front.make_room()
        assert (await served.receive_some()).startswith(b"HTTP/1.1 101 ")
        await served.send_all(Frame(Opcode.TEXT, b"hello").serialize(mask=True))
        assert await served.receive_some() == b"\x81\x05hello"


# ── TLS ──────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("relay.example").configure_cert(context)
    return context


async def test_a_client_is_served_through_tls(
    authority: trustme.CA, tls: ssl.SSLContext, open_transport: OpenTransport
) -> None:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    handshake = ClientHandshake(
        host="relay.example",
        port=443,
        is_secure=True,
        path="/ksmp/v3",
        subprotocol="ksmpv3.msgpack",
        is_text=False,
        token="alice",
        max_frame_bytes=1_000,
    )
    reception = Echo()
    async with meeting(reception, open_transport=open_transport, tls=tls) as raw:
        peer = trio.SSLStream(raw, context, server_hostname="relay.example", https_compatible=True)
        await peer.send_all(handshake.request)
        opened = None
        while opened is None:
            opened = handshake.receive(await peer.receive_some())
        framing, rest = opened
        framing.send(b"hello")
        await peer.send_all(b"".join(framing.outgoing()))

        received = framing.receive(rest, 0.0)
        while not received:
            received = framing.receive(await peer.receive_some(), 0.0)
        assert received == [b"hello"]
    assert reception.served == ["alice ksmpv3.msgpack"]


@pytest.mark.parametrize("sent", [REQUEST, b"\x16\x03\x01\x00\x05garbage", b""])
async def test_a_peer_that_does_not_speak_tls_is_closed_in_time(
    sent: bytes, tls: ssl.SSLContext, autojump_clock: MockClock
) -> None:
    reception = Echo()
    async with meeting(reception, tls=tls) as peer:
        await peer.send_all(sent)
        try:
            answer = await read_to_end(peer)
        except trio.BrokenResourceError:
            answer = b""
        assert trio.current_time() <= 5.0
    assert b"HTTP" not in answer
    assert reception.served == []
