"""The idle benchmark: what a connection costs that says nothing, and whether it stays.

Every connection is of another user, has resumed, and answers the relay's pings. Memory is what the
system counts as the relay's resident set: before the first connection, and while all are idle. That
and the relay's CPU time are measured when all have been connected for one keep-alive interval, for
two more of them or longer: so what a ping and its pong cost is among it.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Final, NamedTuple

from msgspec import Struct

from bench.descriptors import DescriptorLimitError, make_room_for
from bench.idle_plan import IdlePlan, Opened, Waited, decode_report
from bench.plan import Progress, Refused, Started, Stopped
from bench.relay_of_its_own import LIFTED, OwnRelay, relay_of_its_own
from bench.run import ENDED_EARLY, RunError, ServerCpu, generator, progress_bar

GENERATOR: Final = "bench.idlers"
KEEPALIVE_ROUNDS: Final = 2
"""How often each connection must have been pinged, so that staying means something."""

READINGS: Final = 5
BETWEEN_READINGS_SECONDS: Final = 0.1
DEFAULT_KEEPALIVE_SECONDS: Final = 30.0
"""A relay's that nobody has configured."""

SECONDS: Final = (KEEPALIVE_ROUNDS + 1) * DEFAULT_KEEPALIVE_SECONDS
"""From so long on the relay keeps its own keep-alive interval; a shorter wait shortens it, too."""


class Window(Struct, frozen=True):
    """What the relay did while all were connected and had settled."""

    seconds: float
    pings: int
    """How many were answered in it, by all connections together."""
    relay_cpu: float | None
    """The share of a core that all threads of the relay took; null where nobody can tell."""


class IdleReport(Struct, frozen=True):
    """One run; as JSON this is what `--json` prints."""

    connections: int
    still_connected: int
    seconds: float
    keepalive_seconds: float
    keepalive_rounds: int
    """The fewest pings that any connection still there has answered."""
    relay_rss_before_kib: int
    relay_rss_after_kib: int
    kib_per_connection: float
    handshakes_per_s: float
    window: Window | None = None

    @property
    def is_good(self) -> bool:
        """Whether every connection is still there, after enough rounds of pings."""
        return (
            self.still_connected == self.connections and self.keepalive_rounds >= KEEPALIVE_ROUNDS
        )


def keepalive_seconds(seconds: float) -> float:
    """The relay's keep-alive for a wait of this length: every connection is pinged twice in it."""
    return min(DEFAULT_KEEPALIVE_SECONDS, round(seconds / (KEEPALIVE_ROUNDS + 1), 3))


def measure_idle(connections: int, seconds: float) -> IdleReport:
    """Measure a relay started for this, its limits on connections lifted.

    Raises:
        StartError: it does not start.
        RunError: it cannot be measured.
    """
    try:
        make_room_for(connections)
    except DescriptorLimitError as error:
        raise RunError(str(error)) from None
    keepalive = keepalive_seconds(seconds)
    users = [f"idle-{number}" for number in range(connections)]
    with relay_of_its_own(users, _settings(connections, keepalive)) as relay:
        plan = IdlePlan(relay.url, tuple(relay.tokens), round(seconds - keepalive, 3), keepalive)
        run = _run(relay, plan)
    return IdleReport(
        connections=connections,
        still_connected=run.waited.still_connected,
        seconds=seconds,
        keepalive_seconds=keepalive,
        keepalive_rounds=run.waited.fewest_pings,
        relay_rss_before_kib=run.before_kib,
        relay_rss_after_kib=run.after_kib,
        kib_per_connection=round((run.after_kib - run.before_kib) / connections, 2),
        handshakes_per_s=run.opened.handshakes_per_s,
        window=Window(plan.seconds, run.waited.pings, run.relay_cpu),
    )


def _settings(connections: int, keepalive: float) -> dict[str, str]:
    room = str(max(connections, int(LIFTED["KSMP_LIMITS__CONNECTIONS"])))
    return {
        "KSMP_LIMITS__CONNECTIONS": room,
        "KSMP_LIMITS__CONNECTIONS_PER_ADDRESS": room,
        "KSMP_LIMITS__KEEPALIVE_SECONDS": str(keepalive),
    }


class _Run(NamedTuple):
    before_kib: int
    after_kib: int
    opened: Opened
    waited: Waited
    relay_cpu: float | None


def _run(relay: OwnRelay, plan: IdlePlan) -> _Run:
    before: list[int] = []
    for _ in range(READINGS):
        before.append(resident_kib(relay.pid))
        time.sleep(BETWEEN_READINGS_SECONDS)
    idle: list[int] = []
    opened, cpu = Opened(0.0), ServerCpu(relay.pid)
    with generator(GENERATOR, plan) as lines, progress_bar("idle connections") as show:
        for line in lines:
            match decode_report(line):
                case Progress() as progress:
                    show(progress)
                    if progress.step == "idle":
                        idle.append(resident_kib(relay.pid))
                case Opened() as opened:
                    pass
                case Started():
                    cpu.begin()
                case Stopped():
                    cpu.end()
                case Waited() as waited:
                    after = idle[len(idle) // 2 :]  # when what opening cost has been given back
                    return _Run(_median(before), _median(after), opened, waited, cpu.share)
                case Refused(reason=reason):
                    raise RunError(reason)
    raise RunError(ENDED_EARLY)


def _median(readings: list[int]) -> int:
    return round(statistics.median(readings))


def resident_kib(pid: int, field: str = "VmRSS") -> int:
    """The memory of a process that is in use and not swapped out.

    `RssAnon` leaves out the pages of files, such as those of a store.

    Raises:
        RunError: it has ended, or this system does not tell.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        (line,) = (line for line in status.splitlines() if line.startswith(f"{field}:"))
    except (OSError, ValueError):
        raise RunError(
            "the relay's memory cannot be read: it has ended, or this is no Linux"
        ) from None
    return int(line.split()[1])
