"""What the operating system says about a relay's process, and what its clients measure."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final, NamedTuple

import trio

from tests.wire.clients import Peer
from tests.wire.messages import envelope
from tests.wire.relay_process import RelayProcess

KIB: Final = 1024
MIB: Final = 1024 * KIB

QUIET_SECONDS: Final = 0.5


def pid_of(relay: RelayProcess) -> int:
    """The process of a relay that runs."""
    assert relay._process is not None
    return relay._process.pid


def errors_of(relay: RelayProcess) -> str:
    """All that every process of this relay has written on standard error."""
    return (relay.directory / "stderr").read_text(errors="replace")


def resident_bytes(pid: int) -> int:
    """VmRSS of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * KIB
    raise AssertionError("no such process")


def ticks(pid: int) -> int:
    """Hundredths of a second of processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def wait_until_idle(pid: int, timeout_seconds: float) -> None:
    """Return once the process has used next to no processor time for a while."""
    deadline = time.monotonic() + timeout_seconds
    used = ticks(pid)
    while True:
        time.sleep(QUIET_SECONDS)
        now = ticks(pid)
        if now - used <= 1:
            return
        assert time.monotonic() < deadline, "the relay does not come to rest"
        used = now


class Latency(NamedTuple):
    """Of acknowledgements, in milliseconds."""

    median: float
    p99: float
    worst: float

    def __str__(self) -> str:
        return f"median {self.median:.1f} ms, p99 {self.p99:.1f} ms, worst {self.worst:.1f} ms"


async def ack_latency(peer: Peer, recipient: str, sends: int) -> Latency:
    """One send at a time."""
    seconds = []
    for _ in range(sends):
        begun = trio.current_time()
        await peer.send(envelope(peer.user, recipient, conversationId="bystanders"))
        seconds.append(trio.current_time() - begun)
    seconds.sort()
    at = [seconds[len(seconds) // 2], seconds[len(seconds) * 99 // 100], seconds[-1]]
    return Latency(*(1_000 * one for one in at))
