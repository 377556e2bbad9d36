"""The client's end of the wire, `ClientFraming`, as an echo.

The suite as a server selects no subprotocol, on which `ClientHandshake` insists; so the upgrade is
asked for here, by hand.
"""

from __future__ import annotations

from typing import Final

import trio

from ksmp.websocket import ClientFraming
from tests.conformance.echo import LARGEST_MESSAGE, NO_LIMIT, is_utf8

AGENT: Final = "ksmp"


async def call(port: int, path: str, is_text: bool) -> list[bytes]:
    """Connect, send every message back until the server has closed, and return them all."""
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    framing = ClientFraming(
        is_text=is_text, max_frame_bytes=LARGEST_MESSAGE, max_fragments=NO_LIMIT
    )
    received: list[bytes] = []
    async with stream:
        chunk = await _upgrade(stream, port, path)
        while True:
            for message in framing.receive(chunk, trio.current_time()):
                received.append(bytes(message))
                if is_text and not is_utf8(message):
                    framing.close(1007)
                framing.send(bytes(message))
            try:
                await stream.send_all(b"".join(framing.outgoing()))
                chunk = await stream.receive_some(65_536)
            except trio.BrokenResourceError:
                chunk = b""
            if not chunk:
                return received


async def _upgrade(stream: trio.SocketStream, port: int, path: str) -> bytes:
    """Become a WebSocket; what came behind the acceptance."""
    lines = (
        f"GET {path} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
        "",
        "",
    )
    await stream.send_all("\r\n".join(lines).encode("ascii"))
    answer = b""
    while b"\r\n\r\n" not in answer:
        chunk = await stream.receive_some()
        assert chunk, "the suite has closed instead of accepting"
        answer += chunk
    head, _, rest = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 "), head
    return rest


async def play_every_case(port: int, is_text: bool, at_a_time: int) -> None:
    """Go through all the cases that a server of the suite has, and tell it that this was all."""
    (count,) = await call(port, "/getCaseCount", is_text=True)
    room = trio.CapacityLimiter(at_a_time)

    async def play(number: int) -> None:
        async with room:
            await call(port, f"/runCase?case={number}&agent={AGENT}", is_text)

    async with trio.open_nursery() as nursery:
        for number in range(1, int(count) + 1):
            nursery.start_soon(play, number)
    await call(port, f"/updateReports?agent={AGENT}", is_text=True)
