"""What every transport promises through TLS, and over any stream that cannot send at once."""

from __future__ import annotations

import ssl

import pytest
import trio
import trustme
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from actors.transport import PeerGoneError, Transport
from relay.transport.stream import TcpStream, WrappedStream
from tests.relay.wires import (
    MESSAGES,
    Reader,
    Wires,
    close_frame,
    masked,
    receive,
    tcp_pair,
)


async def test_messages_go_both_ways_through_tls(wires: Wires) -> None:
    authority = trustme.CA()
    server_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("relay.example").configure_cert(server_context)
    client_context = ssl.create_default_context()
    authority.configure_trust(client_context)
    with tcp_pair() as (server, client):
        tcp = TcpStream(server)
        secured = trio.SSLStream(tcp, server_context, server_side=True, https_compatible=True)
        peer = trio.SSLStream(
            trio.SocketStream(trio.socket.from_stdlib_socket(client)),
            client_context,
            server_hostname="relay.example",
            https_compatible=True,
        )
        async with wires.on(WrappedStream(secured, tcp.abort), peer) as transport:
            await exchange_and_close(transport, peer)


async def exchange_and_close(transport: Transport, peer: trio.SSLStream[trio.SocketStream]) -> None:
    for message in MESSAGES:
        transport.send(message)
    assert not transport.flush()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(transport.drain)
        reader = Reader(peer)
        assert await reader.read(len(MESSAGES)) == MESSAGES
    await peer.send_all(masked(b"up") + close_frame(1000))
    assert await receive(transport, 1) == [b"up"]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(transport.aclose)
        await reader.read_to_end()
        assert reader.framing.close_code_received == 1000
        await peer.aclose()


async def test_a_send_that_tls_could_not_finish_is_never_continued(wires: Wires) -> None:
    ours, theirs = memory_stream_pair()
    async with wires.on(WrappedStream(ours, lambda: None), theirs) as transport:
        ours.send_stream.send_all_hook = trio.sleep_forever
        transport.send(b"half")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(transport.drain)
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        ours.send_stream.send_all_hook = None

        with pytest.raises(PeerGoneError):
            await transport.drain()
        assert transport.queued_bytes == 0
