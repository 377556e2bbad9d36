"""Those who do not read cost the relay a bounded amount of memory, and the others nothing.

What the others wait is printed and not judged: on a busy machine it says little.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import pytest
import trio

from storage.log import Appended
from tests.faults.observing import KIB, MIB, ack_latency, pid_of, resident_bytes, wait_until_idle
from tests.storage.world import Sent, append, base, conversation, head_after, opened, writer
from tests.wire import raw
from tests.wire.codecs import MSGPACK
from tests.wire.connecting import Clients, StartRelay
from tests.wire.messages import resume

pytestmark = [pytest.mark.trio, pytest.mark.slow, pytest.mark.timeout(240)]

RECORDS: Final = 100_000
RECORDS_PER_COMMIT: Final = 1_000
DEVICES: Final = 1_000
OUTBOUND_BYTES: Final = 256 * KIB
ALLOWANCE_BYTES: Final = 32 * MIB

IDLE_CONNECTIONS: Final = 2_000
IDLE_BYTES: Final = 25 * KIB

SENDS: Final = 500

NEVER: Final = 3_600
WITHOUT_LIMITS: Final = {
    "limits__connections_per_user": 2 * DEVICES,
    "limits__connections_per_address": 20_000,
    "limits__sends_per_second": 1_000_000,
    "limits__sends_burst": 1_000_000,
    "limits__write_seconds": NEVER,
    "limits__keepalive_seconds": NEVER,
}


def fill_inbox(store: Path, reader: str) -> None:
    """Give `reader` a long inbox, without a relay."""
    key = conversation("writer", reader)
    head = base(key)
    text = bytes(200)
    with opened(store, map_size_bytes=1 << 28) as environment:
        one = writer(environment)
        for first in range(0, RECORDS, RECORDS_PER_COMMIT):
            sends = [
                Sent("writer", f"key-{number}", text)
                for number in range(first, first + RECORDS_PER_COMMIT)
            ]
            batch = append(key, head, sends)
            (outcome,) = one.transact([batch])
            assert isinstance(outcome, Appended)
            head = head_after(batch)


class NarrowSocket(raw.RawSocket):
    """A socket for which the kernel keeps next to nothing: what is not read stays at the relay."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        self._socket.settimeout(raw.TIMEOUT_SECONDS)
        self._socket.connect(address)
        self._received = b""

    def upgrade(self, token: str, address: tuple[str, int]) -> None:
        """Get through the handshake; what comes behind it is not read."""
        self.send(raw.request(raw.host_of(address), token=token, codec=MSGPACK))
        assert self.response().status == 101


@contextmanager
def stuck_devices(own: Clients, user: str) -> Iterator[None]:
    """A thousand devices that ask for everything and then do not read."""
    with ExitStack() as stack:
        for number in range(DEVICES):
            device = stack.enter_context(NarrowSocket(own.relay.address))
            device.upgrade(own.issuer.token(user, f"device-{number}"), own.relay.address)
            device.send(raw.message(MSGPACK.encode(resume(0))))
        yield


@pytest.mark.promises("I1", "I7", "I12")
async def test_a_thousand_stuck_devices_cost_bounded_memory_and_nobody_an_acknowledgement(
    start: StartRelay,
) -> None:
    own = start(**WITHOUT_LIMITS)
    await trio.to_thread.run_sync(own.relay.terminate)
    store = own.relay.data_directory / "store"
    await trio.to_thread.run_sync(fill_inbox, store, "reader")
    await trio.to_thread.run_sync(own.relay.start)
    pid = pid_of(own.relay)
    async with own.connect("bystander") as peer:
        await ack_latency(peer, "friend", SENDS)
        before = await ack_latency(peer, "friend", SENDS)
        resident = resident_bytes(pid)
        stuck = stuck_devices(own, "reader")
        await trio.to_thread.run_sync(stuck.__enter__)
        try:
            filling = await ack_latency(peer, "friend", SENDS)
            await trio.to_thread.run_sync(wait_until_idle, pid, 60.0)
            grown = resident_bytes(pid) - resident
            during = await ack_latency(peer, "friend", SENDS)
        finally:
            stuck.__exit__(None, None, None)
        assert (await peer.before_pong()) == []
    print(f"{DEVICES} stuck devices: {grown / MIB:.0f} MiB, {grown / DEVICES / KIB:.0f} KiB each")
    print(
        f"acks before: {before}; while they are sent to: {filling}; once they are stuck: {during}"
    )

    assert grown < DEVICES * OUTBOUND_BYTES + ALLOWANCE_BYTES
    assert own.relay.is_running


@pytest.mark.promises("I1", "I9", "I12")
async def test_an_idle_connection_costs_at_most_25_kib(start: StartRelay) -> None:
    own = start(**WITHOUT_LIMITS)
    pid = pid_of(own.relay)

    def connect(stack: ExitStack, first: int, count: int) -> None:
        for number in range(first, first + count):
            stack.enter_context(own.connect_raw(f"idle-{number}", MSGPACK))

    with ExitStack() as stack:
        await trio.to_thread.run_sync(connect, stack, 0, 100)  # what is needed only once
        wait_until_idle(pid, 10.0)
        before = resident_bytes(pid)
        await trio.to_thread.run_sync(connect, stack, 100, IDLE_CONNECTIONS)
        wait_until_idle(pid, 10.0)
        each = (resident_bytes(pid) - before) / IDLE_CONNECTIONS
        async with own.connect("busy") as peer:
            await ack_latency(peer, "friend", 10)
    print(f"an idle connection costs {each / KIB:.1f} KiB")

    assert each <= IDLE_BYTES
