"""What a relay process has logged, and waiting for it to log something."""

from __future__ import annotations

import json
import time

from tests.wire.clients import ANSWER_SECONDS
from tests.wire.codecs import Event
from tests.wire.relay_process import RelayProcess

POLL_SECONDS = 0.02


def lines(relay: RelayProcess, event: str) -> list[Event]:
    """Every whole line of this name, in order."""
    whole = relay.output().rpartition(b"\n")[0].splitlines()
    logged = [json.loads(line) for line in whole if line.startswith(b"{")]
    return [line for line in logged if line["event"] == event]


def await_line(relay: RelayProcess, event: str, count: int = 1) -> Event:
    """The last line of this name, once there are so many."""
    deadline = time.monotonic() + ANSWER_SECONDS
    while len(found := lines(relay, event)) < count:
        assert time.monotonic() < deadline, event
        time.sleep(POLL_SECONDS)
    return found[-1]
