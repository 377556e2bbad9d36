"""What a relay says of itself when it is asked by signal, and what its log has said since."""

from __future__ import annotations

import json
import signal
import time
from typing import Any, Final, NamedTuple

from tests.wire.relay_process import RelayProcess

ANSWER_SECONDS: Final = 15.0
POLL_SECONDS: Final = 0.02

LogLine = dict[str, Any]


class Status(NamedTuple):
    """One `relay.status`. `descriptors` is None where none was left to count them with."""

    tasks: int
    descriptors: int | None
    handshakes: int
    connections: int
    conversations: int
    under_way_bytes: int

    @property
    def tasks_but_for_conversations(self) -> int:
        """Those that must be gone when every client has left; conversations stay for a while."""
        return self.tasks - self.conversations


def log_of(relay: RelayProcess, event: str) -> list[LogLine]:
    """Every line of this event so far."""
    lines = relay.stderr_path.read_bytes().split(b"\n")[:-1]  # the last may not be whole yet
    return [one for one in map(json.loads, filter(None, lines)) if one["event"] == event]


def status_of(relay: RelayProcess) -> Status:
    """Ask, and wait for the answer."""
    before = len(log_of(relay, "relay.status"))
    relay.signal(signal.SIGUSR1)
    deadline = time.monotonic() + ANSWER_SECONDS
    while len(lines := log_of(relay, "relay.status")) <= before:
        assert relay.is_running, relay.output()[-2_000:]
        assert time.monotonic() < deadline, "no answer to SIGUSR1"
        time.sleep(POLL_SECONDS)
    return Status._make(lines[before].get(name) for name in Status._fields)


def wait_until_back(relay: RelayProcess, baseline: Status, timeout_seconds: float) -> None:
    """Return once every task and descriptor that came after `baseline` has gone."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        now = status_of(relay)
        if (now.tasks_but_for_conversations, now.descriptors, now.connections) == (
            baseline.tasks_but_for_conversations,
            baseline.descriptors,
            baseline.connections,
        ):
            return
        assert time.monotonic() < deadline, f"{now} instead of {baseline}"
        time.sleep(POLL_SECONDS)


def wait_for_connections(relay: RelayProcess, number: int, timeout_seconds: float) -> None:
    """Return once so many are connected."""
    deadline = time.monotonic() + timeout_seconds
    while (now := status_of(relay)).connections != number:
        assert time.monotonic() < deadline, f"{now.connections} connections instead of {number}"
        time.sleep(POLL_SECONDS)
