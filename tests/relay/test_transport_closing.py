"""How every transport ends, whoever closes first and whatever still waits: one test for both."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked
from websockets.frames import Opcode

from actors.transport import PeerGoneError
from tests.relay.wires import (
    Reader,
    Wires,
    close_frame,
    masked,
    receive,
    receive_nothing,
)


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
