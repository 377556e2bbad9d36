"""What every transport promises an actor, over real sockets and over memory: one test for both."""

from __future__ import annotations

import socket

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked
from websockets.frames import Opcode

from actors.transport import PeerGoneError, SlowPeerError
from ksmp.codec import JSON
from tests.relay.wires import (
    LIMIT,
    MESSAGES,
    RESET_ON_CLOSE,
    Reader,
    Wires,
    masked,
    receive,
    receive_nothing,
)

TEXT = Opcode.TEXT


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


async def test_the_limit_counts_bytes_and_not_characters(wires: Wires) -> None:
    async with wires.connected(codec=JSON, max_frame_bytes=100) as (transport, peer):
        await peer.send_all(masked("é".encode() * 50, TEXT) + masked("é".encode() * 51, TEXT))

        assert await receive(transport, 1) == ["é".encode() * 50]
        with pytest.raises(PeerGoneError):
            await receive_nothing(transport)
        assert transport.close_code == 1009


# ── sending ──────────────────────────────────────────────────────────────────────────────────


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
