"""What every transport promises an actor, over real sockets and over memory: one test for both."""

from __future__ import annotations

import socket
import ssl

import pytest
import trio
import trustme
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked
from websockets.frames import Opcode

from actors.transport import PeerGoneError, SlowPeerError, Transport
from ksmp.codec import JSON
from relay.transport.opening import Websocket, opening
from relay.transport.stream import TcpStream, WrappedStream
from tests.relay.wires import (
    LIMIT,
    RESET_ON_CLOSE,
    Reader,
    Wires,
    close_frame,
    masked,
    receive,
    receive_nothing,
    tcp_pair,
)

TEXT = Opcode.TEXT


@pytest.fixture(params=["websockets", "trio-websocket"])
def wires(request: pytest.FixtureRequest) -> Wires:
    """Each transport."""
    name: Websocket = request.param
    return Wires(opening(name))


# ── receiving ────────────────────────────────────────────────────────────────────────────────


async def test_messages_of_one_segment_arrive_in_order(wires: Wires) -> None:
    async with wires.connected() as (transport, peer):
        await peer.send_all(b"".join(masked(bytes([index])) for index in range(100)))

        assert await receive(transport, 100) == [bytes([index]) for index in range(100)]


async def test_text_arrives_as_the_bytes_it_was_sent_as(wires: Wires) -> None:
    text = '{"é":"\U0001f600"}'.encode()
    async with wires.connected(codec=JSON) as (transport, peer):
        await peer.send_all(masked(text, TEXT))
        assert await receive(transport, 1) == [text]

        transport.send(text)
        await transport.drain()
        assert await Reader(peer, is_text=True).read(1) == [text]


async def test_a_message_in_fragments_arrives_whole_though_a_ping_comes_between(
    wires: Wires,
) -> None:
    async with wires.connected() as (transport, peer):
        await peer.send_all(
            masked(b"one ", fin=False)
            + masked(b"", Opcode.PING)
            + masked(b"two", Opcode.CONT, fin=False)
            + masked(b"", Opcode.CONT)
        )

        assert await receive(transport, 1) == [b"one two"]


async def test_bytes_behind_the_handshake_are_read_first(wires: Wires) -> None:
    async with wires.connected(received=masked(b"early") + masked(b"la")[:3]) as (transport, peer):
        await peer.send_all(masked(b"la")[3:] + masked(b"late"))

        messages = await receive(transport, 3)
        assert messages[0] == b"early"
        assert messages[2] == b"late"


async def test_last_heard_moves_with_every_byte(wires: Wires, mock_clock: MockClock) -> None:
    async with wires.connected() as (transport, peer), trio.open_nursery() as nursery:
        nursery.start_soon(transport.receive)
        await wait_all_tasks_blocked()
        assert transport.last_heard == 0.0
        mock_clock.jump(7.0)
        await peer.send_all(b"\x82")
        await wait_all_tasks_blocked()
        mock_clock.jump(7.0)

        assert transport.last_heard == 7.0
        nursery.cancel_scope.cancel()


async def test_a_ping_is_answered_while_receiving(wires: Wires) -> None:
    async with wires.connected() as (transport, peer), trio.open_nursery() as nursery:
        nursery.start_soon(receive, transport, 1)
        await peer.send_all(masked(b"nonce", Opcode.PING))

        assert await peer.receive_some() == b"\x8a\x05nonce"
        assert transport.queued_bytes == 0
        await peer.send_all(masked(b"enough"))


async def test_nothing_is_read_but_while_receiving(wires: Wires, autojump_clock: MockClock) -> None:
    """So a client that is not to be read costs the operating system's buffers, and no more."""
    async with wires.connected() as (transport, peer):
        await peer.send_all(masked(b"first"))
        assert await receive(transport, 1) == [b"first"]
        await peer.send_all(masked(b"", Opcode.PING))
        with trio.move_on_after(1.0) as unanswered:
            await peer.receive_some()
        assert unanswered.cancelled_caught
        with trio.move_on_after(1.0) as stuck:
            for _ in range(1_000):
                await peer.send_all(masked(bytes(100_000)))
        assert stuck.cancelled_caught


REFUSED = {
    "the other kind": (masked(b"text", TEXT), 1003),
    "no mask": (b"\x82\x01x", 1002),
    "a reserved bit": (b"\xc2\x80mask", 1002),
    "a reserved opcode": (b"\x83\x80mask", 1002),
    "a stray continuation": (masked(b"x", Opcode.CONT), 1002),
    "too large": (b"\x82\xff" + (LIMIT + 1).to_bytes(8, "big"), 1009),
    "larger than there is": (b"\x82\xff" + (2**62).to_bytes(8, "big"), 1009),
    "a long ping": (b"\x89\xfe" + (126).to_bytes(2, "big") + bytes(130), 1002),
    "65 fragments": (masked(b"", fin=False) + masked(b"", Opcode.CONT, fin=False) * 64, 1009),
    "a flood": (masked(b"p" * 125, Opcode.PING) * 30, 4429),
    "a close of one byte": (masked(b"\x03", Opcode.CLOSE), 1002),
    "a close code that is none": (masked(b"\x03\xed", Opcode.CLOSE), 1002),
    "a close reason that is not UTF-8": (masked(b"\x03\xe8\xff", Opcode.CLOSE), 1007),
}


@pytest.mark.parametrize(("sent", "code"), REFUSED.values(), ids=REFUSED)
async def test_what_came_and_went_before_an_offence_is_delivered_then_its_code_ends_the_line(
    sent: bytes, code: int, wires: Wires
) -> None:
    async with wires.connected() as (transport, peer):
        await peer.send_all(masked(b"good"))
        assert await receive(transport, 1) == [b"good"]
        transport.send(b"last words")
        await peer.send_all(sent)
        async with trio.open_nursery() as nursery:
            reader = Reader(peer)

            async def read() -> None:
                assert await reader.read_to_end() == [b"last words"]
                assert reader.framing.close_code_received == code
                await peer.aclose()

            nursery.start_soon(read)
            with pytest.raises(PeerGoneError):
                await receive_nothing(transport)
            with pytest.raises(PeerGoneError):
                await transport.receive()
            assert transport.close_code == code
            await transport.aclose()


async def test_messages_before_an_offence_in_the_same_segment_are_delivered(wires: Wires) -> None:
    async with wires.connected() as (transport, peer):
        await peer.send_all(masked(b"one") + masked(b"two") + masked(b"text", TEXT))
        assert await receive(transport, 2) == [b"one", b"two"]
        with pytest.raises(PeerGoneError):
            await receive_nothing(transport)
        assert transport.close_code == 1003


@pytest.mark.parametrize("is_reset", [True, False])
async def test_a_peer_that_leaves_is_gone(is_reset: bool, wires: Wires) -> None:
    async with wires.connected() as (transport, peer):
        if is_reset:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        await peer.aclose()

        with pytest.raises(PeerGoneError):
            await transport.receive()
        with pytest.raises(PeerGoneError):
            await transport.receive()
        assert transport.close_code is None
        await transport.aclose()


# ── sending ──────────────────────────────────────────────────────────────────────────────────

MESSAGES = [b"", b"a", b"b" * 125, b"c" * 126, b"d" * 70_000, b"e" * 200_000, b"f"]


async def test_what_flush_leaves_drain_writes_and_then_nothing_is_queued(wires: Wires) -> None:
    async with wires.connected() as (transport, peer):
        assert transport.flush()
        transport.send(b"one")
        transport.send(b"two")
        assert transport.queued_bytes >= 6

        if not transport.flush():
            await transport.drain()
        assert transport.queued_bytes == 0
        assert transport.flush()
        assert await Reader(peer).read(2) == [b"one", b"two"]


async def test_messages_of_any_size_arrive_whole_through_a_narrow_socket(wires: Wires) -> None:
    async with wires.connected() as (transport, peer):
        for message in MESSAGES:
            transport.send(message)
        assert not transport.flush()
        assert transport.queued_bytes > 0

        async with trio.open_nursery() as nursery:
            nursery.start_soon(transport.drain)
            assert await Reader(peer).read(len(MESSAGES)) == MESSAGES
        assert transport.queued_bytes == 0


async def test_a_cancelled_drain_loses_and_repeats_nothing(wires: Wires) -> None:
    async with wires.connected() as (transport, peer):
        received: list[bytes | bytearray] = []
        async with trio.open_nursery() as nursery:

            async def read() -> None:
                received.extend(await Reader(peer).read(2 * len(MESSAGES)))

            nursery.start_soon(read)
            for message in [*MESSAGES, *MESSAGES]:
                transport.send(message)
                for _ in range(3):
                    with trio.CancelScope() as scope:
                        scope.cancel()
                        await transport.drain()
                    transport.flush()
                    await wait_all_tasks_blocked()
            await transport.drain()
        assert received == [*MESSAGES, *MESSAGES]


async def test_drains_and_pongs_at_once_keep_every_message_whole(wires: Wires) -> None:
    """Two tasks write: whoever drains, and whoever receives and answers pings."""
    async with wires.connected() as (transport, peer), trio.open_nursery() as nursery:
        reader = Reader(peer)
        nursery.start_soon(receive, transport, 15)
        received: list[bytes | bytearray] = []

        async def read() -> None:
            received.extend(await reader.read(150))

        nursery.start_soon(read)
        expected = []
        for index in range(15):
            await peer.send_all(masked(bytes([index]), Opcode.PING) + masked(b"m"))
            for size in range(10):
                expected.append(bytes([index, size]) * (size * 300))
                transport.send(expected[-1])
            nursery.start_soon(transport.drain)
            await transport.drain()
    assert received == expected


async def test_a_peer_that_does_not_read_is_slow(wires: Wires, autojump_clock: MockClock) -> None:
    async with wires.connected() as (transport, _peer):
        transport.send(bytes(250_000))
        assert not transport.flush()

        began = trio.current_time()
        with pytest.raises(SlowPeerError):
            await transport.drain()
        assert trio.current_time() - began == pytest.approx(10.0)
        transport.close(4410)
        assert transport.close_code == 4410
        await transport.aclose()
        assert trio.current_time() - began == pytest.approx(11.0)


async def test_a_peer_that_takes_no_pongs_is_slow(wires: Wires, autojump_clock: MockClock) -> None:
    async with wires.connected() as (transport, peer):
        transport.send(bytes(250_000))
        transport.flush()
        with trio.move_on_after(1.0):
            await transport.drain()
        await peer.send_all(masked(b"n", Opcode.PING) + masked(b"message"))
        began = trio.current_time()
        with pytest.raises(SlowPeerError):
            await receive(transport, 2)
        assert trio.current_time() - began == pytest.approx(10.0)
        transport.close(4410)
        assert transport.close_code == 4410
        await transport.aclose()


async def test_a_slow_peer_that_reads_after_all_gets_everything_and_the_close(
    wires: Wires,
) -> None:
    async with wires.connected(write_seconds=0.05) as (transport, peer):
        transport.send(bytes(250_000))
        transport.flush()
        with pytest.raises(SlowPeerError):
            await transport.drain()
        transport.close(4410)

        reader = Reader(peer)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(transport.aclose)
            assert await reader.read_to_end() == [bytes(250_000)]
            assert reader.framing.close_code_received == 4410
            await peer.aclose()


async def test_a_peer_that_resets_while_we_write_is_gone(wires: Wires) -> None:
    async with wires.connected() as (transport, peer):
        transport.send(bytes(250_000))
        transport.flush()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        await peer.aclose()

        with pytest.raises(PeerGoneError):
            await transport.drain()
        transport.send(b"nobody hears this")
        assert transport.flush()
        assert transport.queued_bytes == 0


async def test_pings_go_behind_what_is_queued_and_each_pong_is_taken(wires: Wires) -> None:
    async with wires.connected() as (transport, peer), trio.open_nursery() as nursery:
        nursery.start_soon(receive, transport, 1)
        for index in range(3):
            transport.send(bytes([index]))
            transport.ping()
            await transport.drain()
            expected = bytes((0x82, 1, index, 0x89, 0))
            frames = b""
            while len(frames) < len(expected):
                frames += await peer.receive_some()
            assert frames == expected
            await peer.send_all(masked(b"", Opcode.PONG))
        await peer.send_all(masked(b"enough"))


async def test_control_frames_owed_to_a_full_socket_are_written_before_the_next_read(
    wires: Wires,
) -> None:
    async with wires.in_memory() as (transport, peer), trio.open_nursery() as nursery:
        nursery.start_soon(receive, transport, 1)
        await peer.send_all(masked(b"n", Opcode.PING))
        await wait_all_tasks_blocked()
        await peer.send_all(masked(b"next"))
        await wait_all_tasks_blocked()
        assert await peer.receive_some() == b"\x8a\x01n"


async def test_a_flood_of_pings_is_answered_with_4429_and_bounded_memory(wires: Wires) -> None:
    async with wires.connected() as (transport, peer):
        await peer.send_all(masked(b"p" * 125, Opcode.PING) * 30)
        async with trio.open_nursery() as nursery:
            with pytest.raises(PeerGoneError):
                await receive_nothing(transport)
            assert transport.queued_bytes < 20 * 200 + 100
            nursery.start_soon(transport.aclose)
            reader = Reader(peer)
            await reader.read_to_end()
            assert reader.framing.close_code_received == 4429
            await peer.aclose()


async def test_application_pings_are_counted_with_the_others(wires: Wires) -> None:
    async with wires.connected() as (transport, peer):
        await peer.send_all(masked(b"", Opcode.PING) * 8 + masked(b"message"))
        assert await receive(transport, 1) == [b"message"]
        assert [transport.note_control() for _ in range(13)] == [True] * 12 + [False]


# ── closing ──────────────────────────────────────────────────────────────────────────────────


async def test_a_close_goes_behind_what_is_queued_and_nothing_goes_behind_it(
    wires: Wires,
) -> None:
    async with wires.connected() as (transport, peer):
        transport.send(b"last")
        transport.close(4409)
        queued = transport.queued_bytes
        transport.close(1000)
        transport.send(b"late")
        transport.ping()
        assert transport.queued_bytes == queued
        assert transport.close_code == 4409
        if not transport.flush():
            await transport.drain()

        reader = Reader(peer)
        assert await reader.read(1) == [b"last"]
        assert reader.framing.close_code_received == 4409
        assert transport.queued_bytes == 0


async def test_aclose_waits_for_the_answer_to_its_close_and_no_longer(
    wires: Wires, autojump_clock: MockClock
) -> None:
    async with wires.connected() as (transport, peer):
        transport.close(1001)
        reader = Reader(peer)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(transport.aclose)
            await reader.read_to_end()
            await peer.send_all(masked(b"sent before it knew") + close_frame(1001))
            await peer.aclose()
        assert trio.current_time() < 0.5


async def test_aclose_waits_a_second_for_a_silent_peer(
    wires: Wires, autojump_clock: MockClock
) -> None:
    async with wires.connected() as (transport, peer):
        began = trio.current_time()
        await transport.aclose()

        assert trio.current_time() - began == pytest.approx(1.0)
        assert await peer.receive_some() == b"\x88\x02\x03\xe8"


async def test_aclose_after_a_read_that_was_cancelled_ends_the_line_at_once(
    wires: Wires, autojump_clock: MockClock
) -> None:
    async with wires.connected() as (transport, peer):
        with trio.CancelScope() as reading:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(cancel_when_blocked, reading)
                await transport.receive()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(transport.aclose)
            assert await Reader(peer).read_to_end() == []
            assert trio.current_time() < 0.5
            await peer.aclose()


async def cancel_when_blocked(scope: trio.CancelScope) -> None:
    await wait_all_tasks_blocked()
    scope.cancel()


async def test_aclose_while_another_task_receives_ends_in_time(
    wires: Wires, autojump_clock: MockClock
) -> None:
    async with wires.connected() as (transport, peer), trio.open_nursery() as nursery:
        gone = trio.Event()

        async def receive_to_end() -> None:
            with trio.CancelScope() as reading, pytest.raises(PeerGoneError):
                nursery.start_soon(close, reading)
                await transport.receive()
            gone.set()

        async def close(reading: trio.CancelScope) -> None:
            await wait_all_tasks_blocked()
            transport.close(4401)
            reading.cancel()
            await transport.aclose()

        nursery.start_soon(receive_to_end)
        assert await peer.receive_some() == b"\x88\x02\x11\x31"
        await peer.aclose()
    assert trio.current_time() < 0.5


@pytest.mark.parametrize("code", [1000, 3000, 4999, 1005])
async def test_a_close_of_the_peer_is_answered_in_kind_although_it_goes_on_sending(
    code: int, wires: Wires
) -> None:
    closing = masked(b"", Opcode.CLOSE) if code == 1005 else close_frame(code)
    async with wires.connected() as (transport, peer):
        noise = masked(bytes(50_000)) + masked(b"", Opcode.PING)
        async with trio.open_nursery() as nursery:

            async def close_and_go_on() -> None:
                await peer.send_all(closing + noise)
                await peer.send_eof()

            nursery.start_soon(close_and_go_on)
            with pytest.raises(PeerGoneError):
                await receive_nothing(transport)
            assert transport.close_code == code
            await transport.aclose()
        reader = Reader(peer)
        assert await reader.read_to_end() == []
        assert reader.framing.close_code_received == code


async def test_what_was_sent_before_the_peers_close_arrives_before_the_answer_to_it(
    wires: Wires,
) -> None:
    async with wires.connected() as (transport, peer):
        await peer.send_all(masked(b"question"))
        assert await receive(transport, 1) == [b"question"]
        transport.send(b"answer")
        await peer.send_all(close_frame(1000))
        with pytest.raises(PeerGoneError):
            await receive_nothing(transport)
        transport.send(b"too late")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(transport.aclose)
            reader = Reader(peer)
            assert await reader.read_to_end() == [b"answer"]
            assert reader.framing.close_code_received == 1000
            await peer.aclose()


async def test_a_peer_that_ends_its_direction_gets_the_answers_to_what_it_sent(
    wires: Wires,
) -> None:
    async with wires.connected() as (transport, peer):
        await peer.send_all(masked(b"question"))
        await peer.send_eof()
        assert await receive(transport, 1) == [b"question"]
        transport.send(b"answer")
        if not transport.flush():
            await transport.drain()
        with pytest.raises(PeerGoneError):
            await receive_nothing(transport)
        await transport.aclose()
        assert b"".join([bytes(chunk) async for chunk in peer]) == b"\x82\x06answer"


async def test_aclose_cancelled_closes_at_once_with_what_can_be_sent(
    wires: Wires, autojump_clock: MockClock
) -> None:
    async with wires.connected() as (transport, peer):
        transport.send(b"last")
        with trio.CancelScope() as scope:
            scope.cancel()
            await transport.aclose()
        reader = Reader(peer)

        assert await reader.read_to_end() == [b"last"]
        assert reader.framing.close_code_received == 1000
        assert trio.current_time() == 0.0


# ── TLS ──────────────────────────────────────────────────────────────────────────────────────


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


async def test_a_silent_peer_is_waited_for_a_second_where_no_direction_can_be_ended(
    wires: Wires, autojump_clock: MockClock
) -> None:
    async with wires.in_memory() as (transport, peer):
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(transport.aclose)
            assert await peer.receive_some() == b"\x88\x02\x03\xe8"
            await peer.send_all(masked(b"sent before it knew") + masked(b"", Opcode.PING))
        assert trio.current_time() - began == pytest.approx(1.0)


async def test_a_peer_that_answers_our_close_is_waited_for_no_longer(
    wires: Wires, autojump_clock: MockClock
) -> None:
    async with wires.in_memory() as (transport, peer):
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(transport.aclose)
            assert await peer.receive_some() == b"\x88\x02\x03\xe8"
            await peer.send_all(masked(b"sent before it knew") + close_frame(1000))
        assert trio.current_time() - began < 0.5


async def test_a_ping_behind_our_close_is_not_answered_and_harms_nobody(wires: Wires) -> None:
    async with wires.connected() as (transport, peer):
        await peer.send_all(masked(b"last") + masked(b"", Opcode.PING) * 3)
        assert await receive(transport, 1) == [b"last"]
        transport.close(1001)
        if not transport.flush():
            await transport.drain()
        await peer.send_all(masked(b"", Opcode.PING) * 3)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(transport.aclose)
            answered = b"".join([bytes(chunk) async for chunk in peer])
            await peer.aclose()
        # Those in the same segment may have been read before we closed.
        assert answered.removeprefix(b"\x8a\x00" * 3) == b"\x88\x02\x03\xe9"


async def test_the_limit_counts_bytes_and_not_characters(wires: Wires) -> None:
    async with wires.connected(codec=JSON, max_frame_bytes=100) as (transport, peer):
        await peer.send_all(masked("é".encode() * 50, TEXT) + masked("é".encode() * 51, TEXT))

        assert await receive(transport, 1) == ["é".encode() * 50]
        with pytest.raises(PeerGoneError):
            await receive_nothing(transport)
        assert transport.close_code == 1009
