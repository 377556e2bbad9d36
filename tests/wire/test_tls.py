"""The same relay behind its own certificate: what is promised in the clear is promised over TLS."""

from __future__ import annotations

import os
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
import trio
import trustme

from tests.wire import clients, raw
from tests.wire.chain import assert_chained, chain_base
from tests.wire.codecs import JSON, MSGPACK, Codec, Event
from tests.wire.connecting import Clients, StartRelay
from tests.wire.messages import envelope, resume, send

TALK = "talk"
QUIET_SECONDS = 1
"""What the relay gives a handshake here, TLS included."""


class Gate(trio.abc.Stream):
    """A TCP stream whose reading side can be shut: then the peer stops reading, bytes and all."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.received_bytes = 0
        self._stream = stream
        self._is_open = trio.Event()
        self._is_open.set()

    def shut(self) -> None:
        """Read no more."""
        self._is_open = trio.Event()

    def open(self) -> None:
        """Read on."""
        self._is_open.set()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        chunk = await self._stream.receive_some(max_bytes)
        await self._is_open.wait()
        self.received_bytes += len(chunk)
        return chunk

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._stream.aclose()


class SecureClients(NamedTuple):
    """Clients of a relay that speaks TLS, who trust whoever issued its certificate."""

    own: Clients
    tls: ssl.SSLContext

    @asynccontextmanager
    async def connect(
        self, user: str, codec: Codec = MSGPACK, *, device: str = "default"
    ) -> AsyncIterator[clients.Peer]:
        """A trio-websocket client over Trio's TLS."""
        async with self.connect_gated(user, codec, device=device) as (peer, _):
            yield peer

    @asynccontextmanager
    async def connect_gated(
        self, user: str, codec: Codec = MSGPACK, *, device: str = "default"
    ) -> AsyncIterator[tuple[clients.Peer, Gate]]:
        """The same, and the gate in front of what it receives."""
        gate = Gate(await trio.open_tcp_stream(*self.own.relay.address))
        secured = trio.SSLStream(gate, self.tls, server_hostname="localhost", https_compatible=True)
        token = self.own.issuer.token(user, device)
        async with clients.connected_over(secured, token, user, codec) as peer:
            yield peer, gate

    @contextmanager
    def connect_in_thread(self, user: str, codec: Codec = JSON) -> Iterator[clients.SyncPeer]:
        """A client on websockets' blocking connection, over OpenSSL's sockets."""
        url = f"wss://localhost:{self.own.relay.port}/ksmp/v3"
        token = self.own.issuer.token(user)
        with clients.connected_in_thread(url, token, codec, self.tls) as peer:
            yield peer

    def open_socket(self) -> socket.socket:
        """A TCP connection on which nothing has been said."""
        return socket.create_connection(self.own.relay.address, raw.TIMEOUT_SECONDS)

    def secure(self, plain: socket.socket) -> ssl.SSLSocket:
        """That connection after a good TLS handshake."""
        return self.tls.wrap_socket(plain, server_hostname="localhost")


StartSecureRelay = Callable[..., SecureClients]


@pytest.fixture
def start_secure(start: StartRelay, tmp_path: Path) -> StartSecureRelay:
    """Starts a relay with a certificate of its own; the arguments are settings."""
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    for number, blob in enumerate(issued.cert_chain_pems):
        blob.write_to_path(certificate, append=number > 0)
    issued.private_key_pem.write_to_path(key)
    tls = ssl.create_default_context()
    authority.configure_trust(tls)

    def start_it(**settings: object) -> SecureClients:
        own = start(
            server__tls_certificate=certificate,
            server__tls_key=key,
            limits__sends_burst=10_000,
            **settings,
        )
        return SecureClients(own, tls)

    return start_it


def assert_nothing_failed(secure: SecureClients) -> None:
    """The relay has met no fault of its own."""
    for word in (b"Traceback", b"connection.failed", b'"bug"'):
        assert word not in secure.own.relay.output()


async def fill(secure: SecureClients, count: int, size: int, codec: Codec = MSGPACK) -> None:
    """Alice sends Bob that many records of `size` bytes, up to 100 unacked."""
    async with secure.connect("alice", codec) as sender:
        for begin in range(0, count, 100):
            burst = [
                envelope("alice", "bob", conversationId=TALK, ciphertext=os.urandom(size))
                for _ in range(min(100, count - begin))
            ]
            await sender.tell(*map(send, burst))
            for each in burst:
                assert (await sender.answer_about(each)).event["type"] == "ksmpv3.send.ack"


def assert_whole(frames: list[Event], count: int) -> None:
    """Bob's inbox from its beginning: every record once, in order, each as it was sealed."""
    assert [frame["globalInboxSeq"] for frame in frames] == list(range(1, count + 1))
    assert_chained(chain_base(TALK, "alice", "bob"), frames)


# ── the same promises ────────────────────────────────────────────────────────────────────────


@pytest.mark.trio
async def test_two_libraries_exchange_messages_over_tls(
    start_secure: StartSecureRelay, codec: Codec
) -> None:
    secure = start_secure()

    def answer_alice() -> tuple[Event, Event]:
        with secure.connect_in_thread("bob", codec) as bob:
            bob.next_of("connected")
            bob.tell(resume(0))
            asked = bob.next_of("inbox.frame")
            bob.tell(send(envelope("bob", "alice", conversationId=TALK, ciphertext=b"yes")))
            return asked, bob.next_of("send.ack")

    async with secure.connect("alice", codec) as alice:
        await alice.resume(0)
        sent = envelope("alice", "bob", conversationId=TALK, ciphertext=b"?" * 100_000)
        await alice.send(sent)
        asked, ack = await trio.to_thread.run_sync(answer_alice)
        own, answered = [frame.event for frame in await alice.frames(2)]

    assert asked["envelope"]["ciphertext"] == sent["ciphertext"]
    assert own["envelope"] == asked["envelope"]
    assert (answered["envelope"]["ciphertext"], ack["serverSeq"]) == (b"yes", 2)
    assert_nothing_failed(secure)


@pytest.mark.trio
async def test_replay_of_a_thousand_records_over_tls_is_what_was_sent_live(
    start_secure: StartSecureRelay, codec: Codec
) -> None:
    secure, count = start_secure(), 1_000
    async with secure.connect("bob", codec, device="live") as witness:
        await witness.resume(0)
        await fill(secure, count, 300)
        live = await witness.frames(count)
    async with secure.connect("bob", codec) as late:
        replayed = (await late.resume(0))[:-1]

    assert_whole([frame.event for frame in replayed], count)
    assert [frame.raw for frame in replayed] == [frame.raw for frame in live]
    assert_nothing_failed(secure)


@pytest.mark.trio
async def test_slow_tls_reader_catches_up_and_keeps_nobody_waiting(
    start_secure: StartSecureRelay,
) -> None:
    secure, count, size = start_secure(limits__write_seconds=60), 200, 100_000
    async with (
        secure.connect_gated("bob", device="slow") as (slow, gate),
        secure.connect("bob", device="quick") as quick,
    ):
        await slow.resume(0)
        await quick.resume(0)
        gate.shut()
        await fill(secure, count, size)
        assert_whole([frame.event for frame in await quick.frames(count)], count)
        assert gate.received_bytes < count * size / 2, "it was to be slow"

        gate.open()
        assert_whole([frame.event for frame in await slow.frames(count)], count)
        assert await slow.before_pong() == []
    assert_nothing_failed(secure)


@pytest.mark.trio
async def test_tls_reader_that_was_cut_off_replays_what_it_missed(
    start_secure: StartSecureRelay,
) -> None:
    secure, count = start_secure(limits__write_seconds=0.5), 200
    async with secure.connect_gated("bob") as (stuck, gate):
        await stuck.resume(0)
        gate.shut()
        await fill(secure, count, 100_000)
        await trio.to_thread.run_sync(await_cut_off, secure)
        gate.open()
        assert await stuck.close_code() in (4410, raw.ENDED)
        missed = len([event for event in stuck.kept() if event["type"] == "ksmpv3.inbox.frame"])
        assert missed < count
    async with secure.connect("bob") as again:
        assert_whole([frame.event for frame in (await again.resume(0))[:-1]], count)
    assert_nothing_failed(secure)


def await_cut_off(secure: SecureClients) -> None:
    """Return once the relay's log says that a connection was closed as too slow."""
    deadline = time.monotonic() + clients.ANSWER_SECONDS
    while b'"code":4410' not in secure.own.relay.output():
        assert time.monotonic() < deadline, "a connection that does not read must be cut off"
        time.sleep(0.02)


@pytest.mark.trio
async def test_sigterm_drains_tls_clients(start_secure: StartSecureRelay) -> None:
    secure = start_secure()
    sent = [envelope("alice", "bob", conversationId=TALK) for _ in range(100)]
    async with AsyncExitStack() as stack:
        alice = await stack.enter_async_context(secure.connect("alice"))
        idle = [await stack.enter_async_context(secure.connect(f"user-{n}")) for n in range(5)]
        await alice.tell(*map(send, sent))
        accepted = await alice.before_pong()
        secure.own.relay.signal_terminate()
        for peer in (alice, *idle):
            assert await peer.close_code() == 1001
            notices = [e["code"] for e in peer.kept() if e["type"] == "ksmpv3.error"]
            assert notices == ["draining"]
        answers = accepted + alice.kept()

    assert await trio.to_thread.run_sync(secure.own.relay.wait) == 0
    acked = [a["idempotencyKey"] for a in answers if a["type"] == "ksmpv3.send.ack"]
    assert sorted(acked) == sorted(each["idempotencyKey"] for each in sent)
    assert b"Traceback" not in secure.own.relay.output()


# ── hostile and mistaken peers ───────────────────────────────────────────────────────────────

CLIENT_HELLO_BEGUN = bytes.fromhex("16030102000100")
"""A TLS record of 512 bytes that ends after two of them."""


def speak_http_in_the_clear(secure: SecureClients) -> None:
    with secure.open_socket() as plain:
        host, token = raw.host_of(secure.own.relay.address), secure.own.issuer.token("mallory")
        plain.sendall(raw.request(host, token=token))
        assert b"HTTP" not in drained(plain)


def send_noise(secure: SecureClients) -> None:
    with secure.open_socket() as plain:
        plain.sendall(b"\x80\xff" * 20_000)
        drained(plain)


def stop_in_the_middle_of_a_client_hello(secure: SecureClients) -> None:
    with secure.open_socket() as plain:
        plain.sendall(CLIENT_HELLO_BEGUN)
        assert drained(plain) == b""


def say_nothing(secure: SecureClients) -> None:
    with secure.open_socket() as plain:
        assert drained(plain) == b""


def say_nothing_after_the_tls_handshake(secure: SecureClients) -> None:
    with secure.secure(secure.open_socket()) as secured:
        assert drained(secured).startswith(b"HTTP/1.1 408 ")


def distrust_the_certificate(secure: SecureClients) -> None:
    with (
        secure.open_socket() as plain,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        ssl.create_default_context().wrap_socket(plain, server_hostname="localhost")


def send_noise_in_mid_stream(secure: SecureClients) -> None:
    """An upgraded connection whose next TLS record does not decrypt."""
    with secure.open_socket() as plain:
        other = plain.dup()
        with other, secure.secure(plain) as secured:
            host, token = raw.host_of(secure.own.relay.address), secure.own.issuer.token("mallory")
            secured.sendall(raw.request(host, token=token))
            assert secured.recv(65_536).startswith(b"HTTP/1.1 101 ")
            other.sendall(b"\x17\x03\x03\x00\x40" + bytes(64))
            drained(secured)


def hang_up_in_mid_stream(secure: SecureClients) -> None:
    """A reset instead of TLS's good-bye."""
    plain = secure.open_socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    with secure.secure(plain) as secured:
        host, token = raw.host_of(secure.own.relay.address), secure.own.issuer.token("mallory")
        secured.sendall(raw.request(host, token=token))
        assert secured.recv(65_536).startswith(b"HTTP/1.1 101 ")


def drained(connected: socket.socket) -> bytes:
    """What the relay says before it ends the line, which it must."""
    received = b""
    try:
        while chunk := connected.recv(65_536):
            received += chunk
    except (ConnectionResetError, ssl.SSLEOFError):
        pass
    return received


HOSTILE = [
    speak_http_in_the_clear,
    send_noise,
    stop_in_the_middle_of_a_client_hello,
    say_nothing,
    say_nothing_after_the_tls_handshake,
    distrust_the_certificate,
    send_noise_in_mid_stream,
    hang_up_in_mid_stream,
]


@pytest.mark.parametrize("be_hostile", HOSTILE)
@pytest.mark.trio
async def test_what_breaks_tls_is_closed_and_disturbs_nobody(
    start_secure: StartSecureRelay, be_hostile: Callable[[SecureClients], None]
) -> None:
    secure = start_secure(limits__handshake_seconds=QUIET_SECONDS)
    sent: list[Event] = []
    async with secure.connect("alice") as alice, secure.connect("bob") as bob:
        await bob.resume(0)
        is_gone = trio.Event()

        async def converse() -> None:
            is_last = False
            while not is_last:
                is_last = is_gone.is_set()
                sent.append(envelope("alice", "bob", conversationId=TALK))
                await alice.send(sent[-1])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(converse)
            await trio.to_thread.run_sync(be_hostile, secure)
            is_gone.set()
        assert_whole([frame.event for frame in await bob.frames(len(sent))], len(sent))
        assert await bob.before_pong() == []
    assert secure.own.relay.terminate() == 0
    assert_nothing_failed(secure)
