"""No peer of the admin listener ends it for the others, or holds up its end."""

from __future__ import annotations

import gc
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import h11
import pytest
import trio

from relay.admin import http_server
from relay.admin.http_server import CONNECTIONS, HttpServer

LARGE = 32 << 20
REQUEST = b"GET %b HTTP/1.1\r\nHost: here\r\n\r\n"


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Everything is there; `/large` is more than any buffer of the system holds."""
    body = bytes(LARGE) if scope["path"] == "/large" else b"here"
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=2 * CONNECTIONS) as made:
        yield made


@asynccontextmanager
async def serving(listening: socket.socket) -> AsyncIterator[list[Exception]]:
    bugs: list[Exception] = []
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(HttpServer(application, bugs.append).serve, [listening])  # noqa: ASYNC113
            yield bugs
            nursery.cancel_scope.cancel()


async def connect(listening: socket.socket) -> trio.SocketStream:
    return await trio.open_tcp_stream(*listening.getsockname())


async def is_answered(listening: socket.socket) -> bool:
    async with await connect(listening) as client:
        await client.send_all(REQUEST % b"/")
        return (await client.receive_some()).startswith(b"HTTP/1.1 200")


async def test_a_peer_who_reads_nothing_does_not_hold_up_the_end(listening: socket.socket) -> None:
    async with serving(listening):
        deaf = await connect(listening)
        await deaf.send_all(REQUEST % b"/large")
        await deaf.receive_some(1)  # the rest cannot be written any more
        assert await is_answered(listening)
    await deaf.aclose()


async def test_a_peer_who_has_gone_leaves_its_place_at_once(listening: socket.socket) -> None:
    async with serving(listening):
        for _ in range(3 * CONNECTIONS):
            assert await is_answered(listening)


async def test_a_peer_who_reads_nothing_is_given_up(
    listening: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "WRITE_SECONDS", 0.2)
    async with serving(listening):
        deaf = await connect(listening)
        await deaf.send_all(REQUEST % b"/large")
        with pytest.raises(trio.BrokenResourceError):
            while True:  # nothing but what becomes of a write tells whether the other end is there
                await deaf.send_all(b"\r\n")
                await trio.sleep(0.05)
        assert await is_answered(listening)
    await deaf.aclose()


async def test_a_request_that_breaks_the_parser_ends_its_own_connection_alone(
    listening: socket.socket,
) -> None:
    async with serving(listening) as bugs, await connect(listening) as bystander:
        for _ in range(3):
            async with await connect(listening) as breaking:
                await breaking.send_all(
                    b"GET / HTTP/1.1\r\nHost: \xff\r\nConnection: Upgrade, HTTP2-Settings\r\n"
                    b"Upgrade: h2c\r\nHTTP2-Settings: \xff\r\n\r\n"
                )
                async for _ in breaking:
                    pass
        await bystander.send_all(REQUEST % b"/")
        assert (await bystander.receive_some()).startswith(b"HTTP/1.1 200")
        assert len(bugs) == 3
        assert await is_answered(listening)


@pytest.mark.parametrize(
    "request_of_http_2",
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        REQUEST % b"/" + b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
    ],
)
async def test_whoever_wants_http_2_is_hung_up_on_and_that_is_no_bug(
    listening: socket.socket, request_of_http_2: bytes
) -> None:
    async with serving(listening) as bugs:
        async with await connect(listening) as client:
            await client.send_all(request_of_http_2)
            answer = b"".join([part async for part in client])
            assert answer.count(b"HTTP/1.1 200") == request_of_http_2.count(REQUEST % b"/")
        assert bugs == []
        assert await is_answered(listening)


async def test_what_a_connection_held_is_let_go_with_it(listening: socket.socket) -> None:
    gc.collect()
    gc.disable()  # as good as: a relay collects cycles rarely
    try:
        async with serving(listening):
            for _ in range(3):
                async with await connect(listening) as client:
                    await client.send_all(b"GET / HTTP/1.1\r\nHost: here\r\nX: " + b"x" * 5_000)
                assert await is_answered(listening)
            while any(isinstance(one, h11.Connection) for one in gc.get_objects()):  # noqa: ASYNC110 - it cannot tell
                await trio.sleep(0.05)
    finally:
        gc.enable()


async def test_one_connection_too_many_is_hung_up_on_and_the_others_live(
    listening: socket.socket,
) -> None:
    async with serving(listening), AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(await connect(listening)) for _ in range(CONNECTIONS)
        ]
        for client in clients:
            await client.send_all(REQUEST % b"/")
            assert await client.receive_some()
        async with await connect(listening) as one_too_many:
            assert await one_too_many.receive_some() == b""
        await clients[0].send_all(REQUEST % b"/")
        assert await clients[0].receive_some()


async def test_the_sockets_stay_open_for_whoever_serves_next(listening: socket.socket) -> None:
    for _ in range(2):
        async with serving(listening):
            assert await is_answered(listening)
    assert listening.fileno() >= 0
